package signing

import (
	"bytes"
	"errors"
	"testing"
)

func TestParseContext(t *testing.T) {
	for _, c := range []*Context{NewContext("a"), NewContext("entry").Bytes([]byte{1, 2}).Text("").Uint(7), NewContext("x-1").Bytes(make([]byte, 70000))} {
		got, err := ParseContext(c.Encode())
		if err != nil || !bytes.Equal(got.Encode(), c.Encode()) || got.Kind() != c.Kind() {
			t.Errorf("%s: %v", c.Kind(), err)
		}
	}
	if kind := NewContext("entry").Text("x").Kind(); kind != "entry" {
		t.Errorf("kind %q", kind)
	}
	for name, b := range map[string]string{
		"nothing":              "",
		"another program's":    "ssh/v1/entry\x00",
		"another version":      "zeropass/v2/entry\x00",
		"no kind":              "zeropass/v1/\x00",
		"no end of the kind":   "zeropass/v1/entry",
		"a bad kind":           "zeropass/v1/Entry\x00",
		"a short length":       "zeropass/v1/entry\x00\x00\x00\x00",
		"a short part":         "zeropass/v1/entry\x00\x00\x00\x00\x02a",
		"bytes after it":       "zeropass/v1/entry\x00\x00\x00\x00\x01ab",
		"an impossible length": "zeropass/v1/entry\x00\xff\xff\xff\xffa",
	} {
		if c, err := ParseContext([]byte(b)); c != nil || !errors.Is(err, ErrContext) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func FuzzParseContext(f *testing.F) {
	f.Add(NewContext("entry").Bytes([]byte("body")).Uint(1).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseContext(b)
		if err != nil {
			if c != nil {
				t.Fatal("a context with an error")
			}
			return
		}
		if !bytes.Equal(c.Encode(), b) {
			t.Fatalf("%x became %x", b, c.Encode())
		}
	})
}
