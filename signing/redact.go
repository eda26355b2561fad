package signing

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands wherever somebody prints, logs or marshals a private key.
// The methods have value receivers, so that they hold for PrivateKey and
// *PrivateKey alike.
const redacted = "[secret]"

// String returns "[secret]".
func (k PrivateKey) String() string { return redacted }

// GoString returns "[secret]".
func (k PrivateKey) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (k PrivateKey) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]" in quotes.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
