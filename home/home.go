// Package home keeps what one device has of an account, in a directory.
//
// [Create] makes the directory with new keys, [Open] opens it for one process,
// [OpenReadOnly] reads a copy of it, and [OpenDamaged] reads what is left of it.
// [Home.Unlock] takes the passphrase; what is public can be read without it.
//
// # The directory
//
//	passphrase.age  the device secret, 32 bytes, in an age file with a scrypt recipient
//	confirm.age     the confirm key, 32 bytes, likewise, under a passphrase of its own
//	confirm-key     the confirm key's public key, 33 bytes, sealed
//	config          HomeConfig, readable by the user without a passphrase
//	keys            HomeKeys, sealed
//	keystore        HomeKeystore, if a TPM or a keyring opens the home too
//	ledger          frames of SignedEntry: the replica
//	server-shares   frames of SealedServerShare
//	activity        frames of Activity
//	activity-lost   frames of Activity that the server has lost, from the first time on
//	proofs          frames of SignedAttestation, the newest of each holder
//	held            frames of StoredShare, each sealed
//	pending/append  the append under way (see [Append])
//	pending/s-NAME  secrets that the server has not accepted, sealed (see [MarshalWrites])
//	private/NAME    anything small, sealed
//	evidence/NAME   what proves that somebody broke a rule, and what was damaged
//	lock            names the process that writes
//
// Messages are those of zeropass.record.v1 in the encoding of package
// canonical. A framed file is a line "zeropass/v1/" and its name, then frames:
// length of the payload (4 bytes big-endian), its CRC-32C (4 bytes big-endian),
// payload.
//
// What is sealed is sealed by package aead under the key
// HKDF-SHA256(device secret, context), with the same context as associated
// data. The context is of the kind "home" and has one part, the path of the file
// in the directory. So one passphrase opens everything, on any machine, with age
// and an implementation of HKDF and AES-256-GCM. Nonces are read from
// crypto/rand, as age does.
//
// The confirm key does not hang from the device secret: it is the second factor
// of a single device, and whoever has one passphrase must not have the other.
//
// # Durability
//
// A method that returned nil has put what it stores on the disk. A program
// killed at any moment, or a machine that loses power, leaves what stood before
// or what was being stored: single files are renamed into place, the growing
// ones made durable frame by frame. An incomplete last frame is cut off at the
// next start. A full disk is an error that changes nothing. Anything else that
// is wrong with a file is a [DamageError].
//
// # What it protects
//
// The directory and its files are for their owner alone, and Open refuses a
// directory that others can reach. A thief of the directory sees the ledger, the
// server, the account's name and the number of things in it, and can guess at
// the passphrase, each guess at the cost of scrypt. Files carry no protection
// from being put back to an older state: the ledger's heads that others attest
// show that. Replaced files may survive on the medium; nothing here overwrites
// them.
package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// Paths within the directory.
const (
	passphraseFile   = "passphrase.age"
	confirmFile      = "confirm.age"
	confirmKeyFile   = "confirm-key"
	configFile       = "config"
	keysFile         = "keys"
	keystoreFile     = "keystore"
	ledgerFile       = "ledger"
	serverSharesFile = "server-shares"
	activityFile     = "activity"
	lostFile         = "activity-lost"
	proofsFile       = "proofs"
	heldFile         = "held"
	lockFile         = "lock"
	pendingDir       = "pending"
	privateDir       = "private"
	evidenceDir      = "evidence"
)

// magic returns the first line of a framed file.
func magic(name string) string { return "zeropass/v1/" + name + "\n" }

// maxSmallFile is the size in bytes of the largest file that is no log.
const maxSmallFile = canonical.MaxSize + 1<<20

// Home is an open directory. Its methods may be called from several goroutines.
type Home struct {
	dir      string
	readOnly bool
	tolerant bool
	lock     *os.File // nil if read only

	mu      sync.RWMutex
	closed  bool
	config  *recordv1.HomeConfig
	state   *ledger.State // replaced, never changed; nil before Genesis
	entries *log
	shares  *log
	share   map[ledger.ShareID]int // frame of the newest
	acts    *log
	lastAct *ledger.Activity
	lost    *log // nil while nothing was ever lost
	hasLost map[ledger.Hash]bool
	proofs  []*ledger.Attestation
	damage  []*DamageError
	repairs []Repair

	holder KeyHolder // nil until unlocked
	keys   *Keys
}

// Repair says that the incomplete last frame of a file was cut off, which is
// normal after a crash. What it was is sent again by whoever sent it.
type Repair struct {
	File  string
	Bytes int64
}

// Open opens a home for this process alone, until Close. It returns ErrMissing,
// ErrBusy, ErrPermissions, a *DamageError, or an error that wraps
// ledger.ErrNewer if a newer program wrote entries that this one cannot judge.
func Open(dir string) (*Home, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	return openLocked(dir, lock)
}

// openLocked opens a home whose lock this process has taken. It lets go of the
// lock if that fails.
func openLocked(dir string, lock *os.File) (*Home, error) {
	h := &Home{dir: dir, lock: lock}
	if err := h.load(); err != nil {
		_ = h.Close()
		return nil, err
	}
	return h, nil
}

// OpenReadOnly opens a home, or a copy of one on any medium, without taking its
// lock and without changing anything. Errors are those of Open, apart from
// ErrBusy and ErrPermissions.
func OpenReadOnly(dir string) (*Home, error) { return openReadOnly(dir, false) }

// OpenDamaged is OpenReadOnly for a home that may be damaged: of each file it
// takes what stands before the damage, and [Home.Damage] says what is missing.
// It returns an error only where nothing can be done.
func OpenDamaged(dir string) (*Home, error) { return openReadOnly(dir, true) }

func openReadOnly(dir string, tolerant bool) (*Home, error) {
	if _, err := os.Stat(filepath.Join(dir, passphraseFile)); err != nil {
		return nil, missing(dir, err)
	}
	h := &Home{dir: dir, readOnly: true, tolerant: tolerant}
	if err := h.load(); err != nil {
		_ = h.Close()
		return nil, err
	}
	return h, nil
}

// checkDir refuses a directory that is no home, or that others can reach.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return missing(dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, passphraseFile)); err != nil {
		return missing(dir, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o: find out who may have read it, then run chmod 700 on it", ErrPermissions, dir, mode)
	}
	return nil
}

func missing(dir string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrMissing, dir)
	}
	return fmt.Errorf("home: open %s: %w", dir, err)
}

// load reads everything that needs no passphrase.
func (h *Home) load() error {
	if !h.readOnly {
		for _, dir := range []string{"", pendingDir, privateDir, evidenceDir} {
			if err := removeUnfinished(h.path(dir)); err != nil {
				return err
			}
		}
	}
	for _, load := range []func() error{h.loadConfig, h.loadLedger, h.loadServerShares, h.loadActivity, h.loadLost, h.loadProofs} {
		err := load()
		var damage *DamageError
		if h.tolerant && errors.As(err, &damage) {
			h.damage = append(h.damage, damage)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openLog opens one of the growing files and notes what was wrong with it.
func (h *Home) openLog(name string, each func([]byte) error) (*log, error) {
	l, damage, err := openLog(h.dir, name, h.readOnly, h.tolerant, each)
	if err != nil {
		return nil, err
	}
	if damage != nil {
		h.damage = append(h.damage, damage)
	} else if l.cut > 0 {
		h.repairs = append(h.repairs, Repair{File: name, Bytes: l.cut})
	}
	return l, nil
}

func (h *Home) loadConfig() error {
	h.config = new(recordv1.HomeConfig)
	b, err := readLimited(h.path(configFile), configFile, maxSmallFile)
	if err != nil {
		return lost(configFile, err)
	}
	if err := canonical.Unmarshal(b, h.config); err != nil {
		return &DamageError{File: configFile, Reason: err.Error()}
	}
	return nil
}

// lost turns a file that must be there and is not into damage.
func lost(name string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return &DamageError{File: name, Reason: "it is missing"}
	}
	return err
}

// Dir returns the directory.
func (h *Home) Dir() string { return h.dir }

// String names the directory, and nothing in it.
func (h *Home) String() string { return "home " + h.dir }

// Format writes String for every verb.
func (h *Home) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.String())) }

// Damage returns what OpenDamaged found damaged.
func (h *Home) Damage() []*DamageError { return h.damage }

// Repairs returns what was cut off when the home was opened. Of a home that is
// open for reading only it is merely ignored.
func (h *Home) Repairs() []Repair { return h.repairs }

// Config returns a copy of the configuration.
func (h *Home) Config() *recordv1.HomeConfig {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return proto.CloneOf(h.config)
}

// SetServerURL stores where the server is reached from now on. Its keys stay pinned.
func (h *Home) SetServerURL(url string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := proto.CloneOf(h.config)
	c.Url = url
	return h.setConfig(c)
}

func (h *Home) setConfig(c *recordv1.HomeConfig) error {
	if err := h.writable(); err != nil {
		return err
	}
	b, err := canonical.Marshal(c)
	if err != nil {
		return fmt.Errorf("home: config: %w", err)
	}
	if err := writeFile(h.path(configFile), b); err != nil {
		return err
	}
	h.config = proto.CloneOf(c)
	return nil
}

// Close erases the keys, also those that Keys returned, and lets go of the lock.
// The home is of no use afterwards. Closing it again does nothing.
func (h *Home) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	h.erase()
	var errs []error
	for _, l := range []*log{h.entries, h.shares, h.acts, h.lost} {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}

func (h *Home) path(name string) string { return filepath.Join(h.dir, name) }

// writable says whether the home may be changed.
func (h *Home) writable() error {
	if h.closed {
		return ErrClosed
	}
	if h.readOnly {
		return ErrReadOnly
	}
	return nil
}
