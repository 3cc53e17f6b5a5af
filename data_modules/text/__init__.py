"""Words: tokenisers, sections of reports, captions, questions and answers."""
