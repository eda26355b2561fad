// Package memory keeps what a process knows out of core dumps, swap and the hands
// of other processes of the same user, as far as the operating system lets it.
//
// [Harden] is called first thing in every program. A [Page] holds a secret for a
// long time. [Do] wraps a piece of work with secrets, and [Scrub] clears what
// such work left behind.
//
// What it cannot do: a Go string is never erased; the runtime copies stacks when
// they grow; arithmetic keeps values in registers and on stacks that nobody
// clears. Do and Scrub make such remains short-lived, not impossible. Nothing
// here stops the machine's administrator, and hibernation writes all memory to the
// disk, locked pages too.
package memory

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Harden makes the process leave no core dump, keeps other processes of the same
// user from reading its memory (Linux), and keeps values off the screen when it
// crashes. Later programs that it starts are not covered: they call it themselves.
func Harden() error {
	debug.SetTraceback("none")
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if err != nil {
		err = fmt.Errorf("memory: switch core dumps off: %w", err)
	}
	return errors.Join(err, hideProcess())
}

// Page is one page of memory outside of Go's heap, which is not copied, not dumped
// and, where the system allows it, not swapped out.
type Page struct {
	bytes  []byte
	locked bool
}

// NewPage returns a page of zeros. That it cannot be locked into memory is no
// error: a limit of 0 locked bytes is common in containers; see [Page.Locked].
func NewPage() (*Page, error) {
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("memory: get a page: %w", err)
	}
	p := &Page{bytes: b, locked: unix.Mlock(b) == nil}
	if err := excludeFromDumps(b); err != nil {
		p.Erase()
		return nil, err
	}
	return p, nil
}

// Bytes returns the page's memory, which ends with Erase.
func (p *Page) Bytes() []byte { return p.bytes }

// Locked says whether the page stays in memory.
func (p *Page) Locked() bool { return p.locked }

// Format writes "[secret]" for every verb.
func (*Page) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// Erase overwrites the page with zeros and gives it back. Erasing it again does
// nothing.
func (p *Page) Erase() {
	if p.bytes == nil {
		return
	}
	clear(p.bytes)
	_ = unix.Munmap(p.bytes)
	p.bytes = nil
}

// Clobber is what GODEBUG must contain, when a process starts, for [Scrub] to
// overwrite what the garbage collector frees.
const Clobber = "clobberfree=1"

// Scrub collects garbage, which is overwritten in a process that was started with
// [Clobber], and gives free memory back to the system. It takes milliseconds.
func Scrub() {
	runtime.GC() // what has a finalizer is freed by the collection after it
	debug.FreeOSMemory()
}
