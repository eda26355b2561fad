package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// beside opens the data for a command that works beside running servers, and leaves
// their schema as it is. Like a server it takes the schema of the next version.
func (o *dataOptions) beside(ctx context.Context, command string) (store.Maintained, error) {
	return o.openBeside(ctx, command, false)
}

// besideWhole is beside for a command that must know everything in the data: one
// that copies it, deletes all of an account, or says what a key encrypts.
func (o *dataOptions) besideWhole(ctx context.Context, command string) (store.Maintained, error) {
	return o.openBeside(ctx, command, true)
}

func (o *dataOptions) openBeside(ctx context.Context, command string, whole bool) (store.Maintained, error) {
	if err := o.check(command); err != nil {
		return nil, err
	}
	syscall.Umask(0o077)
	if o.database.url != "" {
		s, err := o.database.openBeside(ctx, whole)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := sqlite.OpenBeside(ctx, filepath.Join(o.dir, databaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitFailed, "Name the data directory that zeropass-server serve works in.", "there are no data of a server in %s", o.dir)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// besideWithKeys opens all the data and reads the key file that must be theirs.
func (o *dataOptions) besideWithKeys(ctx context.Context, command string) (store.Maintained, *server.Keys, error) {
	keys, err := o.readKeys(command)
	if err != nil {
		return nil, nil, err
	}
	s, err := o.besideWhole(ctx, command)
	if err != nil {
		return nil, nil, err
	}
	owner, err := s.Owner(ctx)
	if err == nil && owner != nil && !bytes.Equal(owner, keys.Public()) {
		err = store.ErrOtherServer
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, keys, nil
}

// readKeys reads a key file that must be there.
func (o *dataOptions) readKeys(command string) (*server.Keys, error) {
	if o.keyPath() == "" {
		return nil, usage("For instance --key-file /etc/zeropass/server-keys", "%s needs --key-file", command)
	}
	return readKeyFile(o.keyPath())
}

// meter shows on a terminal how far a long command is.
type meter struct {
	w     io.Writer
	shown bool
	last  time.Time
}

// newMeter shows nothing where w is no terminal.
func newMeter(w io.Writer) *meter {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		w = io.Discard
	}
	return &meter{w: w}
}

func (m *meter) show(format string, args ...any) {
	if time.Since(m.last) < 100*time.Millisecond {
		return
	}
	m.last, m.shown = time.Now(), true
	_, _ = fmt.Fprintf(m.w, "\r\x1b[K"+format, args...)
}

// done takes the line away.
func (m *meter) done() {
	if m.shown {
		_, _ = fmt.Fprint(m.w, "\r\x1b[K")
	}
}
