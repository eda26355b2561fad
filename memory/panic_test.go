package memory

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain is a program that panics, where a test started it for that.
func TestMain(m *testing.M) {
	if value := os.Getenv("ZEROPASS_TEST_PANIC"); value != "" {
		defer OnPanic(os.Stderr, 7)
		panic("with " + value)
	}
	os.Exit(m.Run())
}

func TestOnPanic(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ZEROPASS_TEST_PANIC=a secret")
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Errorf("ended with %v", err)
	}
	if text := string(out); !strings.HasPrefix(text, "error: ") || !strings.Contains(text, "memory.TestMain:") || strings.Contains(text, "a secret") {
		t.Errorf("said %q", text)
	}
}
