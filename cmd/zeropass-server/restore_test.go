package main

import (
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// opening is a copy of a store, and opens the database that is made of it.
type opening struct {
	io.Reader
	t    *testing.T
	file string
	also *sqlite.Store
}

func (o *opening) Read(b []byte) (int, error) {
	if o.also == nil {
		var err error
		if o.also, err = sqlite.OpenBeside(o.t.Context(), o.file); err != nil {
			return 0, err
		}
	}
	return o.Reader.Read(b)
}

// A database that somebody else has open keeps what was restored in its log, which
// has another name: it is not put in place without it.
func TestRestoreWithoutItsLog(t *testing.T) {
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := restoreOptions{stdout: io.Discard, stderr: io.Discard}
	o.data.dir, o.data.keyFile = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "keys")
	const empty = "zeropass-store v1\nE\x00"
	busy := &opening{Reader: strings.NewReader(empty), t: t, file: filepath.Join(o.data.dir, restoringFile)}
	err = o.intoDir(t.Context(), busy, keys)
	if busy.also == nil || err == nil || !strings.Contains(err.Error(), "could not be completed") {
		t.Errorf("restored with %v", err)
	}
	if err := busy.also.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(o.data.dir)
	if err != nil || len(left) != 1 || left[0].Name() != lockFile {
		t.Errorf("%v is left, %v", left, err)
	}
	if err := o.intoDir(t.Context(), strings.NewReader(empty), keys); err != nil {
		t.Error(err)
	}
}
