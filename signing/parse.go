package signing

import (
	"encoding/binary"
	"errors"
	"strings"
)

// ErrContext is returned for bytes that are no context.
var ErrContext = errors.New("signing: not the encoding of a context")

// ParseContext takes the exact bytes of a context, for whoever signs on behalf of
// another process. Anything else is [ErrContext].
func ParseContext(b []byte) (*Context, error) {
	rest, ok := strings.CutPrefix(string(b), prefix)
	if !ok {
		return nil, ErrContext
	}
	kind, rest, ok := strings.Cut(rest, "\x00")
	if !ok || kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, ErrContext
	}
	for rest != "" {
		if len(rest) < 4 {
			return nil, ErrContext
		}
		n := uint64(binary.BigEndian.Uint32([]byte(rest[:4])))
		if n > uint64(len(rest)-4) {
			return nil, ErrContext
		}
		rest = rest[4+n:]
	}
	c := NewContext(kind)
	c.encoded = append(c.encoded, b[len(c.encoded):]...)
	return c, nil
}

// Kind returns the context's kind.
func (c *Context) Kind() string {
	kind, _, _ := strings.Cut(string(c.encoded[len(prefix):]), "\x00")
	return kind
}
