package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/device"
)

// The help and the page in docs list the same codes with the same words.
func TestExitCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for line := range strings.SplitSeq(exitCodesText, "\n") {
		var code int
		if n, _ := fmt.Sscanf(line, "%d", &code); n != 1 {
			continue
		}
		_, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if row := fmt.Sprintf("| %d | %s |\n", code, meaning); code != listed || !strings.Contains(string(page), row) {
			t.Errorf("docs/commands.md lacks %q", row)
		}
		listed++
	}
	if listed != int(exitHome)+1 {
		t.Errorf("%d codes are listed", listed)
	}
}

func TestErrorsAreExplained(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	told := fail(exitUsage, "Do this.", "that")
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want failure
	}{
		"device":           {t.Context(), &device.Error{Code: device.CodeRefused, Message: "no", Hint: "try again"}, failure{exitRefused, "no", "Try again."}},
		"a command hint":   {t.Context(), &device.Error{Code: device.CodeNotYet, Message: "no", Hint: "zeropass sync"}, failure{exitNotYet, "no", "zeropass sync."}},
		"ours in device's": {t.Context(), &device.Error{Code: device.CodeFailed, Message: "could not ask", Err: told}, failure{exitUsage, "that", "Do this."}},
		"import":           {t.Context(), &interchange.Error{Row: 2, Item: "x", Field: "y", Problem: "is not text", Hint: "correct it"}, failure{exitFailed, `item 2 ("x"), y is not text`, "Correct it."}},
		"busy":             {t.Context(), fmt.Errorf("open: %w", home.ErrBusy), failure{exitHome, "another zeropass is working in this directory", "Wait until it has ended, or end it."}},
		"stopped":          {stopped, &device.Error{Code: device.CodeUnreachable, Message: "no", Err: context.Canceled}, failure{exitFailed, "stopped", "Nothing is lost. Run the same command again and it goes on."}},
		"anything":         {t.Context(), errors.New("broken"), failure{exitFailed, "broken", ""}},
	} {
		if got := explain(c.ctx, c.err); *got != c.want {
			t.Errorf("%s: %+v", name, *got)
		}
	}
}

func TestReport(t *testing.T) {
	var out strings.Builder
	if code := report(&out, t.Context(), fail(exitNotFound, "Look\nthere.", "no \x1b[2Jsuch\nerror: thing")); code != exitNotFound {
		t.Errorf("code %d", code)
	}
	if want := "error: no \ufffd[2Jsuch error: thing\nhint: Look there.\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	if code := report(&out, t.Context(), fmt.Errorf("wrapped: %w", answered(exitNotYet))); code != exitNotYet || out.Len() > 0 {
		t.Errorf("code %d, %q", code, out.String())
	}
}
