package home

import (
	"errors"
	"fmt"
)

var (
	// ErrMissing: there is no home in the directory.
	ErrMissing = errors.New("home: no account here")
	// ErrExists: Create found something in the directory.
	ErrExists = errors.New("home: the directory is already in use")
	// ErrBusy: another process has the home open for writing.
	ErrBusy = errors.New("home: in use by another process")
	// ErrPermissions: other users of the machine can reach the home.
	ErrPermissions = errors.New("home: the directory is open to other users")
	// ErrPassphrase: the passphrase is wrong. An empty one is always wrong.
	ErrPassphrase = errors.New("home: wrong passphrase")
	// ErrSamePassphrase: the passphrase and the confirm passphrase must differ,
	// or whoever saw one has both factors.
	ErrSamePassphrase = errors.New("home: the confirm passphrase must differ from the passphrase")
	// ErrWorkFactor: a scrypt work factor outside 1 to MaxWorkFactor.
	ErrWorkFactor = errors.New("home: scrypt work factor out of range")
	// ErrLocked: Unlock first. A [KeyHolder] in another process returns it when that
	// process holds the keys no more.
	ErrLocked = errors.New("home: not unlocked")
	// ErrReadOnly: the home was opened without the right to change it.
	ErrReadOnly = errors.New("home: opened for reading only")
	// ErrClosed: the home was closed.
	ErrClosed = errors.New("home: closed")
	// ErrNotFound: no such thing in the home.
	ErrNotFound = errors.New("home: not found")
	// ErrName: a name that is not one to 100 of the characters a-z, 0-9, '-',
	// '_' and '.', the first no '.'.
	ErrName = errors.New("home: not a usable name")
	// ErrInFlight: an append is journalled already, and its fate must be known
	// before another begins.
	ErrInFlight = errors.New("home: an append is already under way")
	// ErrFork: an entry stands where the replica has another one.
	ErrFork = errors.New("home: the entry is not the one that the replica has at its place")
	// ErrGap: an entry does not follow the replica's newest.
	ErrGap = errors.New("home: entries are missing before this one")
	// ErrAccount: an entry, or keys, of another account.
	ErrAccount = errors.New("home: another account")
	// ErrWrite: a file could not be written; what stood before still stands. It
	// wraps the operating system's error, syscall.ENOSPC for one.
	ErrWrite = errors.New("home: could not be written")
	// ErrDamaged is what every [DamageError] wraps.
	ErrDamaged = errors.New("home: damaged")
)

// DamageError says that a file is not as it was written, and not merely ends in
// an append that was cut short. Opening the home fails with it.
type DamageError struct {
	File   string // path within the home
	Offset int64  // of the first damaged byte's frame, in bytes; 0 if the file is not framed
	Reason string
}

func (e *DamageError) Error() string {
	s := fmt.Sprintf("home: the file %s is damaged at byte %d: %s", e.File, e.Offset, e.Reason)
	if e.Offset > 0 {
		s += "; all before it is intact. Keep a copy of the directory; then Salvage cuts the file there, and what is missing comes back from the server and the other devices"
	}
	return s
}

// Unwrap returns [ErrDamaged].
func (e *DamageError) Unwrap() error { return ErrDamaged }
