package device

import (
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// A device names itself: what it is called looks like nothing else.
func TestDeviceNames(t *testing.T) {
	for name, want := range map[string]bool{
		"phone": true, "Büro (alt)": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a\nb": false, "a\x1b[2Jb": false, "a\u202eb": false, "\xff": false,
	} {
		if err := checkDeviceName(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	for sealed, want := range map[string]string{
		"phone": "phone", "a\x1b[2Jb": "a?[2Jb", "a\u202eb": "a?b", "\xff": "?", strings.Repeat("x", 99): strings.Repeat("x", 64),
	} {
		if got := printableName([]byte(sealed)); got != want {
			t.Errorf("%q is shown as %q", sealed, got)
		}
	}
	if got := (WaitingDevice{2, `x) wants to nothing, device 1 (y`}).String(); got != `device 2 ("x) wants to nothing, device 1 (y")` {
		t.Errorf("got %s", got)
	}
}

// Whoever is asked to trust other keys of the server sees which.
func TestServerKeysAreShown(t *testing.T) {
	server := &recordv1.Server{SignKey: []byte("sign"), SealKey: []byte("seal")}
	if got := fingerprint(server); got != "0d8c 8305 f89c e839 d195 ef25 2467 95a9" { // by sha256sum
		t.Errorf("got %q", got)
	}
}
