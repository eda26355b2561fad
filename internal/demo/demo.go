// Package demo tells the story of ZeroPass on one computer, for real: a server,
// an owner and three contacts, with directories on disk and HTTP on the loopback
// interface. [Run] is the command "zeropass demo".
//
// Nothing is prepared or faked but two things, which the story says: the waiting
// period lasts seconds instead of days, and passphrases cost little to try.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// WaitingPeriod is the demo's, short enough to sit through.
const WaitingPeriod = 3 * time.Second

// DefaultSlots is how many secrets the owner has unless some are imported.
const DefaultSlots = 12

// ErrDiffers means that something did not come back as it was, or that somebody
// opened what they must not.
var ErrDiffers = errors.New("the demo did not end as it must; the table says where")

// Options says what the demo is to do.
type Options struct {
	Out      io.Writer // the story, in words; io.Discard for none
	Terminal bool      // Out is a terminal: show progress that is overwritten
	Import   string    // a Bitwarden .json export; secrets of our own if empty
	Slots    int       // how many secrets of our own; DefaultSlots if 0
	Dir      string    // where everything is kept; a temporary directory, removed at the end, if empty
}

// Check is one line of the verdict.
type Check struct {
	Name   string `json:"name"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Passed bool   `json:"passed"`
}

// Report is how the demo ended.
type Report struct {
	Dir     string  `json:"dir,omitempty"` // where everything is, if it was kept
	Secrets int     `json:"secrets"`
	Checks  []Check `json:"checks"`
	Passed  bool    `json:"passed"`
	Seconds float64 `json:"seconds"`
}

// Run runs the demo. It returns its report, and an error that wraps [ErrDiffers]
// if a check failed, or whatever kept it from going on.
func Run(ctx context.Context, o Options) (*Report, error) {
	started := time.Now()
	dir, remove, err := directory(o.Dir)
	if err != nil {
		return nil, err
	}
	defer remove()
	items, err := ownersItems(o.Import, o.Slots)
	if err != nil {
		return nil, err
	}
	s := &story{
		teller: teller{out: o.Out, terminal: o.Terminal},
		dir:    dir,
		items:  items,
		report: Report{Secrets: len(items)},
	}
	if o.Dir != "" {
		s.report.Dir = dir
	}
	defer s.end()
	for _, act := range []func(context.Context) error{s.begin, s.keep, s.befriend, s.grow, s.steal, s.lose, s.leave, s.attack} {
		if err := act(ctx); err != nil {
			return nil, err
		}
	}
	s.report.Seconds = time.Since(started).Seconds()
	s.report.Passed = true
	for _, c := range s.report.Checks {
		s.report.Passed = s.report.Passed && c.Passed
	}
	s.verdict()
	if !s.report.Passed {
		return &s.report, ErrDiffers
	}
	return &s.report, nil
}

// directory makes the demo's directory, and returns what removes it.
func directory(dir string) (string, func(), error) {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "zeropass-demo-")
		if err != nil {
			return "", nil, fmt.Errorf("make a temporary directory: %w", err)
		}
		return temporary, func() { _ = os.RemoveAll(temporary) }, nil
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return "", nil, fmt.Errorf("make the demo's directory: %w", err)
	}
	entries, err := os.ReadDir(absolute)
	if err != nil {
		return "", nil, fmt.Errorf("read the demo's directory: %w", err)
	}
	if len(entries) > 0 {
		return "", nil, fmt.Errorf("%s is not empty; name a directory that is new or empty", absolute)
	}
	return absolute, func() {}, nil
}
