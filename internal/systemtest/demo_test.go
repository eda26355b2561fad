package systemtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zeropass.dev/zeropass/internal/demo"
)

// The demo's owner is recovered once more, by the program that was written from
// the specification alone.
func TestDemoAndIndependentRecovery(t *testing.T) {
	t.Parallel()
	const slots = 5
	dir := t.TempDir()
	var story strings.Builder
	report, err := demo.Run(context.Background(), demo.Options{Out: &story, Slots: slots, Dir: dir})
	if err != nil {
		t.Fatalf("%v\n%s", err, story.String())
	}
	if !report.Passed || report.Secrets != slots || len(report.Checks) != 27 {
		t.Errorf("the demo has %d secrets and %d checks, passed: %v", report.Secrets, len(report.Checks), report.Passed)
	}
	for _, c := range report.Checks {
		if !c.Passed || c.Want != c.Got {
			t.Errorf("%s: %s, want %s", c.Name, c.Got, c.Want)
		}
	}
	words := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "words-"+name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	got, pending := RecoverIndependently(t, filepath.Join(dir, "home-Ada-new"), "the passphrase of Ada", words("Cleo"), words("Dan"))
	if got != slots || pending != 0 {
		t.Errorf("the independent program recovers %d secrets and %d that were never accepted, want %d and none", got, pending, slots)
	}
}
