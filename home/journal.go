package home

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// Append is an append to the ledger that is under way: what was, or is about to
// be, sent to the server. It is resent byte for byte until the server has taken
// it, something else is proved to stand at its place, or the server has signed
// its refusal.
//
// The file "pending/append" is framed. The first byte of each payload says what
// follows it: 1 a SignedEntry, 2 a SealedServerShare, 3 the note.
type Append struct {
	Entries []*ledger.Entry
	Shares  []*recordv1.SealedServerShare
	Note    []byte // whatever the caller must know to finish; not secret
}

const (
	appendFile   = "append"
	pendingStart = "s-"

	frameEntry = 1
	frameShare = 2
	frameNote  = 3
)

// PutJournal stores an append before it is sent. While there is one already it
// returns ErrInFlight.
func (h *Home) PutJournal(a *Append) error {
	if len(a.Entries) == 0 {
		return fmt.Errorf("%w: an append without entries", ErrNotFound)
	}
	content := []byte(magic(pendingDir + "/" + appendFile))
	for _, e := range a.Entries {
		content = appendFrame(content, slices.Concat([]byte{frameEntry}, e.Bytes()))
	}
	for _, s := range a.Shares {
		b, err := canonical.Marshal(s)
		if err != nil {
			return fmt.Errorf("home: server share: %w", err)
		}
		content = appendFrame(content, slices.Concat([]byte{frameShare}, b))
	}
	if a.Note != nil {
		content = appendFrame(content, slices.Concat([]byte{frameNote}, a.Note))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	if h.hasJournal() {
		return ErrInFlight
	}
	return writeFile(h.journalPath(), content)
}

// Journal returns the append that is under way, or nil.
func (h *Home) Journal() (*Append, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.journal()
}

func (h *Home) journal() (*Append, error) {
	name := pendingDir + "/" + appendFile
	f, err := os.Open(h.journalPath())
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("home: read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("home: read %s: %w", name, err)
	}
	a := new(Append)
	end, err := scan(f, info.Size(), name, func(_ int64, b []byte) error { return a.add(b) })
	if err != nil {
		return nil, err
	}
	if end != info.Size() || len(a.Entries) == 0 { // it was renamed into place whole
		return nil, &DamageError{File: name, Offset: end, Reason: "it is cut short"}
	}
	return a, nil
}

func (a *Append) add(frame []byte) error {
	b := frame[1:]
	switch frame[0] {
	case frameEntry:
		e, err := ledger.ParseEntry(b)
		if err != nil {
			return err
		}
		a.Entries = append(a.Entries, e)
	case frameShare:
		s, _, err := parseServerShare(b)
		if err != nil {
			return err
		}
		a.Shares = append(a.Shares, s)
	case frameNote:
		a.Note = b
	default:
		return fmt.Errorf("a frame of the unknown kind %d", frame[0])
	}
	return nil
}

// AcceptJournal stores what the journal has, once the server took it: the server
// shares, then the entries, then it forgets the journal. Interrupted anywhere,
// it can be repeated. Errors are those of Append.
func (h *Home) AcceptJournal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	a, err := h.journal()
	if err != nil || a == nil {
		return err
	}
	if err := h.putServerShares(a.Shares); err != nil {
		return err
	}
	if err := h.append(a.Entries); err != nil {
		return err
	}
	return removeFile(h.journalPath())
}

// RemoveJournal forgets the append under way, once something else is proved to
// stand at its place, or the server has signed its refusal.
func (h *Home) RemoveJournal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	return removeFile(h.journalPath())
}

func (h *Home) journalPath() string { return h.path(filepath.Join(pendingDir, appendFile)) }

func (h *Home) hasJournal() bool {
	_, err := os.Lstat(h.journalPath())
	return err == nil
}

// PutPending seals and stores a secret that the server has not accepted yet.
func (h *Home) PutPending(name string, plaintext []byte) error {
	return h.putSealed(pendingDir, pendingStart, name, plaintext)
}

// Pending returns a secret that was stored with PutPending, or ErrNotFound.
func (h *Home) Pending(name string) ([]byte, error) {
	return h.getSealed(pendingDir, pendingStart, name)
}

// PendingNames returns the names of all of them, in order.
func (h *Home) PendingNames() ([]string, error) { return h.names(pendingDir, pendingStart) }

// RemovePending forgets one, once its entry is accepted in the epoch in use.
func (h *Home) RemovePending(name string) error {
	return h.removeSealed(pendingDir, pendingStart, name)
}

// PutPrivate seals and stores something small under a name, in the place of
// what was there.
func (h *Home) PutPrivate(name string, plaintext []byte) error {
	return h.putSealed(privateDir, "", name, plaintext)
}

// Private returns what was stored with PutPrivate, or ErrNotFound. The caller
// erases it.
func (h *Home) Private(name string) ([]byte, error) { return h.getSealed(privateDir, "", name) }

// PrivateNames returns all names that PutPrivate stored under, in order.
func (h *Home) PrivateNames() ([]string, error) { return h.names(privateDir, "") }

// RemovePrivate removes what was stored under a name. Nothing is no error.
func (h *Home) RemovePrivate(name string) error { return h.removeSealed(privateDir, "", name) }

// sealedPath returns the path within the home of a sealed file.
func sealedPath(dir, start, name string) (string, error) {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	if name == "" || len(name) > 100 || name[0] == '.' || strings.Trim(name, allowed) != "" || strings.HasSuffix(name, unfinished) {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return dir + "/" + start + name, nil
}

func (h *Home) putSealed(dir, start, name string, plaintext []byte) error {
	path, err := sealedPath(dir, start, name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	if h.holder == nil {
		return ErrLocked
	}
	if len(plaintext) > canonical.MaxSize {
		return fmt.Errorf("home: %s: %d bytes are too many", path, len(plaintext))
	}
	sealed, err := h.holder.SealFile(path, plaintext)
	if err != nil {
		return err
	}
	return writeFile(h.path(path), sealed)
}

func (h *Home) getSealed(dir, start, name string) ([]byte, error) {
	path, err := sealedPath(dir, start, name)
	if err != nil {
		return nil, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.holder == nil {
		return nil, ErrLocked
	}
	sealed, err := readLimited(h.path(path), path, maxSmallFile)
	if err != nil {
		return nil, err
	}
	return h.holder.OpenFile(path, sealed)
}

func (h *Home) removeSealed(dir, start, name string) error {
	path, err := sealedPath(dir, start, name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	return removeFile(h.path(path))
}

func (h *Home) names(dir, start string) ([]string, error) {
	entries, err := os.ReadDir(h.path(dir))
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("home: read %s: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), start)
		if ok && !strings.HasSuffix(name, unfinished) && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}
