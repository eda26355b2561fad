package device

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// secretive in a struct keeps all of that struct from being printed: by fmt with
// any verb, in a log, as JSON. Whoever may see it takes the fields one by one.
type secretive struct{}

// Format writes "[secret]" for every verb.
func (secretive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (secretive) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]", which makes JSON of it too.
func (secretive) MarshalText() ([]byte, error) { return []byte(redacted), nil }
