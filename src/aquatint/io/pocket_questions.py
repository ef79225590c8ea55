"""What a pocket backbone reads about sparse scenes: questions as dialogues, answers as a text."""

from typing import Any

from aquatint.models.architectures import require_architecture


def all_answers(view: Any) -> str:  # noqa: ANN401 - light signature
    """All questions about a view with their answers, as one text: many words to see, one image."""
    return " ".join(f"{question.text} {question.answer}." for question in view.questions)


def questions_of(view: Any, architecture_name: str) -> list[Any]:  # noqa: ANN401 - light signature
    """Questions about a view as dialogues with a plain answer."""
    from aquatint.data.visual_thought_prompts import chat_prompt, example_requests
    from aquatint.training.captioning import Dialogue

    architecture = require_architecture(architecture_name)
    marks = architecture.image_start + architecture.image_token + architecture.image_end
    asked = [
        Dialogue(chat_prompt(f"\n{question.text}", marks), question.answer, True)
        for question in view.questions
    ]
    # A word that no training ever wrote cannot be written later: its row is frozen by then.
    read = [Dialogue(chat_prompt(request, ""), text, False) for request, text in example_requests()]
    return [*asked, *read]
