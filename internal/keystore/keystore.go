// Package keystore opens the device secret without the passphrase, with the help
// of this machine: TPM 2.0, or the desktop's keyring.
//
// [SealTPM] and [SealKeyring] make a [Record], which lies in the device's
// directory as the file "keystore"; [Parse] reads it and [Record.Open] gives the
// device secret. A record is an addition: the passphrase file stays, and opens a
// copy of the directory on any machine.
//
// In a TPM, the device secret is a sealed object under the storage root key. The
// record holds the object as the TPM gave it out, encrypted to that TPM, so that
// neither the record nor the TPM alone opens anything. A PIN is the object's
// authorization value: it never leaves the program, and the TPM counts wrong
// ones and stops answering for some time after too many. Without a PIN, whoever
// can use the TPM of the running machine and read the directory has the secret.
// What passes between the program and the TPM is encrypted for a session that
// is salted with the storage root key, so that listening on the bus is not enough.
//
// A keyring hands its entries to every program of the user's session. So what
// lies there is the device secret encrypted under a random wrapping key that
// lies in the record: the keyring alone opens nothing, nor does the directory.
package keystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

var (
	// ErrRecord: the bytes are no record of a keystore.
	ErrRecord = errors.New("keystore: not a keystore's record")
	// ErrNoTPM: there is no TPM to talk to, or this user may not.
	ErrNoTPM = errors.New("keystore: no usable TPM")
	// ErrTPM: the TPM refused something that has no error of its own here.
	ErrTPM = errors.New("keystore: the TPM refused")
	// ErrOtherTPM: the TPM was cleared since, or is another machine's.
	ErrOtherTPM = errors.New("keystore: the TPM does not hold the storage root key that the secret was sealed under")
	// ErrPIN: the PIN is wrong, or one is missing.
	ErrPIN = errors.New("keystore: wrong PIN")
	// ErrLockedOut: the TPM refuses all PINs for some time, after too many wrong
	// ones (dictionary attack protection, TPM 2.0 part 1, section 19.8).
	ErrLockedOut = errors.New("keystore: the TPM refuses PINs for some time, after too many wrong ones")
	// ErrNoKeyring: there is no keyring to talk to, or it stays locked.
	ErrNoKeyring = errors.New("keystore: no usable keyring")
	// ErrEntryLost: the keyring has no such entry any more.
	ErrEntryLost = errors.New("keystore: the keyring has lost the entry")
	// ErrEntryChanged: what the keyring has does not open.
	ErrEntryChanged = errors.New("keystore: the entry in the keyring is not what was put there")
)

// SecretSize is the size in bytes of a device secret.
const SecretSize = 32

// Kind is where a device secret is kept.
type Kind string

// The kinds, by the names that people see.
const (
	TPM     Kind = "tpm"
	Keyring Kind = "keyring"
)

// Record is what the device's directory keeps: with the TPM or the keyring of
// this machine, it opens the device secret.
type Record struct {
	m *recordv1.HomeKeystore
}

// sizes of a record's fields in bytes
const (
	nameSize     = 2 + 32 // TPM2B_NAME's content: the hash's algorithm, SHA-256
	maxPublic    = 1024
	maxPrivate   = 1024
	entrySize    = 16
	wrappingSize = 32
)

// Parse reads a record. Anything that Bytes does not return is ErrRecord.
func Parse(b []byte) (*Record, error) {
	m := new(recordv1.HomeKeystore)
	if err := canonical.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	r := &Record{m: m}
	if err := r.check(); err != nil {
		r.Erase()
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}

func (r *Record) check() error {
	m := r.m
	switch m.Kind {
	case recordv1.HomeKeystore_KIND_TPM:
		switch {
		case len(m.Parent) != nameSize:
			return fmt.Errorf("the parent's name has %d bytes, want %d", len(m.Parent), nameSize)
		case len(m.Public) == 0 || len(m.Public) > maxPublic:
			return fmt.Errorf("the public area has %d bytes, want 1 to %d", len(m.Public), maxPublic)
		case len(m.Private) == 0 || len(m.Private) > maxPrivate:
			return fmt.Errorf("the private area has %d bytes, want 1 to %d", len(m.Private), maxPrivate)
		case len(m.Entry) != 0 || len(m.WrappingKey) != 0:
			return errors.New("a TPM's record has fields of a keyring's")
		}
	case recordv1.HomeKeystore_KIND_KEYRING:
		switch {
		case len(m.Entry) != entrySize:
			return fmt.Errorf("the entry's name has %d bytes, want %d", len(m.Entry), entrySize)
		case len(m.WrappingKey) != wrappingSize:
			return fmt.Errorf("the wrapping key has %d bytes, want %d", len(m.WrappingKey), wrappingSize)
		case len(m.Parent) != 0 || len(m.Public) != 0 || len(m.Private) != 0 || m.Pin:
			return errors.New("a keyring's record has fields of a TPM's")
		}
	default:
		return errors.New("it is of no kind")
	}
	return nil
}

// Bytes returns the record as Parse reads it.
func (r *Record) Bytes() ([]byte, error) { return canonical.Marshal(r.m) }

// Kind returns where the secret is kept.
func (r *Record) Kind() Kind {
	if r.m.Kind == recordv1.HomeKeystore_KIND_TPM {
		return TPM
	}
	return Keyring
}

// NeedsPIN tells whether Open needs a PIN.
func (r *Record) NeedsPIN() bool { return r.m.Pin }

// Open returns the device secret, 32 bytes, which the caller erases. The TPM is
// the one at a path (see SealTPM). Errors are those above.
func (r *Record) Open(ctx context.Context, tpm string, pin []byte) ([]byte, error) {
	if r.Kind() == TPM {
		return r.unseal(tpm, pin)
	}
	return r.fromKeyring(ctx)
}

// Forget removes what is kept outside of the record: the keyring's entry. That
// there is none any more is no error. A TPM keeps nothing.
func (r *Record) Forget(ctx context.Context) error {
	if r.Kind() == Keyring {
		return r.forgetEntry(ctx)
	}
	return nil
}

// Erase zeroes the wrapping key. The record is of no use afterwards.
func (r *Record) Erase() { clear(r.m.WrappingKey) }

const redacted = "[secret]"

// String returns "[secret]".
func (r Record) String() string { return redacted }

// GoString returns "[secret]".
func (r Record) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (r Record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (r Record) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]", in JSON too.
func (r Record) MarshalText() ([]byte, error) { return []byte(redacted), nil }
