"""What a reader cannot see is spelled out."""

import pytest

from evpcli.domain.unprintable import spell_out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 東京 🦊", "Grüße, 東京 🦊"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\a", "a\\nb\\r\\x07"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_only_what_cannot_be_seen_is_changed(text, shown):
    assert spell_out(text) == shown
    assert spell_out(spell_out(text)) == shown
