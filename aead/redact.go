package aead

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands wherever somebody prints, logs or marshals a key.
// The methods have value receivers, so that they hold for Key and
// *Key alike.
const redacted = "[secret]"

// String returns "[secret]".
func (k Key) String() string { return redacted }

// GoString returns "[secret]".
func (k Key) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (k Key) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]" in quotes.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
