"""The dialect of Gemini's generateContent."""

__all__ = ()
