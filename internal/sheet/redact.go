package sheet

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// Format writes "[secret]" for every verb: a page has the words on it.
func (Sheet) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (Sheet) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]", which makes JSON of it too.
func (Sheet) MarshalText() ([]byte, error) { return []byte(redacted), nil }
