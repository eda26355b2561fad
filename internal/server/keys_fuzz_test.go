package server

import (
	"bytes"
	"testing"
)

// What is admitted as a key file is what this program would write.
func FuzzParseKeys(f *testing.F) {
	const key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
	f.Add([]byte(keyFileVersion + "\nsign " + key + "\nseal " + key + "\nencrypt a " + key + "\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := parseKeys(b)
		if (keys == nil) != (err != nil) {
			t.Fatalf("keys: %v, %v", keys != nil, err)
		}
		if err == nil && !bytes.Equal(keys.encode(), b) {
			t.Errorf("%q is written as something else", b)
		}
	})
}
