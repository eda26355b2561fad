package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// teller prints the story.
type teller struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex // progress comes from several goroutines
	act   int
	drawn time.Time
	dirty bool // a line of progress is on the screen
}

// title starts an act.
func (t *teller) title(text string) {
	t.act++
	t.print("\n%d. %s\n\n", t.act, text)
}

// did tells what was done.
func (t *teller) did(format string, args ...any) { t.print("   ✓ "+format+"\n", args...) }

// refused tells what was refused, as it must be.
func (t *teller) refused(format string, args ...any) { t.print("   ✗ "+format+"\n", args...) }

// says tells what a program says, indented under what was done.
func (t *teller) says(text string) {
	for line := range strings.Lines(text) {
		t.print("       %s\n", strings.TrimRight(line, "\n"))
	}
}

func (t *teller) print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wipe()
	fmt.Fprintf(t.out, format, args...)
}

// progress overwrites one line, on a terminal only and not too often.
func (t *teller) progress(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.terminal || time.Since(t.drawn) < 50*time.Millisecond {
		return
	}
	t.wipe()
	fmt.Fprintf(t.out, "     … "+format, args...)
	t.drawn, t.dirty = time.Now(), true
}

func (t *teller) wipe() {
	if t.dirty {
		fmt.Fprint(t.out, "\r\x1b[K")
		t.dirty = false
	}
}
