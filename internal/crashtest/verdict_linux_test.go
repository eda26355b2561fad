package crashtest

import (
	"fmt"
	"io"
	"sync"
	"testing"
)

// outcome is what one campaign has found.
type outcome struct {
	hurt         string // what was done to the server
	times        int64
	acknowledged int64 // writes, or commands that had ended
	lost         int   // of what was acknowledged
	failed       bool
	caught       bool // it was to lose something, and did
}

// outcomes are those of this run, so that who reads a long log finds all of them at
// its end.
var outcomes struct {
	sync.Mutex
	list []outcome
}

// conclude keeps what a test has found when it ends, however it does.
func conclude(t *testing.T, found func() outcome) {
	t.Helper()
	t.Cleanup(func() {
		o := found()
		o.failed = t.Failed()
		outcomes.Lock()
		defer outcomes.Unlock()
		outcomes.list = append(outcomes.list, o)
	})
}

// verdict writes what all campaigns of this run have found.
func verdict(w io.Writer) {
	outcomes.Lock()
	defer outcomes.Unlock()
	_, _ = fmt.Fprintf(w, "\n| %-44s | %6s | %12s | %4s | %-6s |\n|%s|\n", "what was hurt", "times", "acknowledged", "lost", "",
		"----------------------------------------------|-------:|-------------:|-----:|--------")
	for _, o := range outcomes.list {
		end := "ok"
		switch {
		case o.failed:
			end = "FAILED"
		case o.caught:
			end = "caught"
		}
		_, _ = fmt.Fprintf(w, "| %-44s | %6d | %12d | %4d | %-6s |\n", o.hurt, o.times, o.acknowledged, o.lost, end)
	}
}

// losses counts what an error says was acknowledged and is not there.
func losses(err error) int {
	switch e := err.(type) {
	case *lossError:
		return 1
	case interface{ Unwrap() []error }:
		n := 0
		for _, one := range e.Unwrap() {
			n += losses(one)
		}
		return n
	case interface{ Unwrap() error }:
		return losses(e.Unwrap())
	}
	return 0
}
