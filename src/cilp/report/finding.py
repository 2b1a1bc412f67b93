"""What a finding of the study is: a question, its answer in a sentence, and what that claims."""

from dataclasses import dataclass, field

from cilp.report.titles import title


@dataclass(frozen=True)
class Finding:
    """A question, the answer, and what the answer claims (``cilp.report.claims``)."""

    question: str
    answer: str
    claims: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """A list item, its claims beside it in comments."""
        return f"- **{self.question}** {self.answer}" + "".join(f" <!-- holds: {claim} -->" for claim in self.claims)


def short_title(model: str) -> str:
    """Without the downsampling, which the question names."""
    return title(model).split(",")[0]
