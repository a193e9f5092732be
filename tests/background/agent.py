"""An agent of a few lines with the interface that the background document calls."""


class SmartGlassAgent:
    """Turns a question and what was seen into a prompt, as the real agent does."""

    def __init__(self, *, whisper_model, clip_model, llm_backend, provider):
        self.backend = llm_backend
        self.models = (whisper_model, clip_model, provider)

    def process_multimodal_query(self, *, text_query, image_input):
        context = f"Visual context: {image_input}\n"
        answer = self.backend.generate(f"{context}User query: {text_query}", max_tokens=16)
        return {"response": answer, "query": text_query}
