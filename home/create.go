package home

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Creation is what a home starts from.
type Creation struct {
	Passphrase        []byte
	ConfirmPassphrase []byte // must differ
	// WorkFactor is the base-2 logarithm of scrypt's rounds for both
	// passphrases, at most MaxWorkFactor; 0 for DefaultWorkFactor.
	WorkFactor int
	// Config is without account and device number: they are not known yet.
	Config *recordv1.HomeConfig
	// Rand is a cryptographic generator. 128 bytes and a little more are read.
	Rand io.Reader
}

// Create makes a home with new keys in a directory that does not exist, or is
// empty, and returns it open and unlocked. Its parents are made where they are
// missing. Either the whole home is there afterwards, or nothing.
//
// The home has no ledger yet. A device that opens an account, or joins one,
// makes its first entry, puts it into the journal and then sends it, so that it
// can go on from there when it is interrupted: see [Home.PutJournal] and
// [Home.SetIdentity].
//
// Errors are ErrExists, ErrPassphrase for an empty passphrase,
// ErrSamePassphrase, ErrWorkFactor, ErrAccount, ErrWrite, or Rand's.
func Create(dir string, c Creation) (*Home, error) {
	workFactor, err := c.check()
	if err != nil {
		return nil, err
	}
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	if err := checkFree(dir); err != nil {
		return nil, err
	}
	if err := makeDirs(parent); err != nil {
		return nil, err
	}
	removeStale(dir)
	building, err := os.MkdirTemp(parent, filepath.Base(dir)+unfinished+"-")
	if err != nil {
		return nil, writeError(err)
	}
	lock, err := takeLock(building) // which stays with the directory when that is renamed
	if err == nil {
		err = c.build(building, workFactor)
	}
	if err == nil {
		err = renameDir(building, dir)
	}
	if err != nil {
		if lock != nil {
			_ = lock.Close()
		}
		_ = os.RemoveAll(building)
		return nil, err
	}
	h, err := openLocked(dir, lock)
	if err != nil {
		return nil, err
	}
	if err := h.Unlock(c.Passphrase); err != nil {
		_ = h.Close()
		return nil, err
	}
	return h, nil
}

func (c *Creation) check() (workFactor int, err error) {
	if len(c.Passphrase) == 0 || len(c.ConfirmPassphrase) == 0 {
		return 0, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	if samePassphrase(c.Passphrase, c.ConfirmPassphrase) {
		return 0, ErrSamePassphrase
	}
	if c.Config.GetAccount() != nil || c.Config.GetDevice() != 0 {
		return 0, fmt.Errorf("%w: a new home belongs to none yet", ErrAccount)
	}
	return checkWorkFactor(c.WorkFactor)
}

// makeDirs makes a directory with its parents where they are missing, and their
// names durable: without its name a directory is lost with all that was synced in
// it.
func makeDirs(dir string) error {
	var made []string
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) || filepath.Dir(at) == at {
			break
		}
		made = append(made, at)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return writeError(err)
	}
	for _, at := range made {
		if err := syncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	return nil
}

// checkFree returns nil if nothing or an empty directory is there.
func checkFree(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil && !errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("home: create %s: %w", dir, err)
	case err != nil || len(names) > 0:
		return fmt.Errorf("%w: %s: choose another, or open the account that is there", ErrExists, dir)
	}
	return nil
}

// removeStale removes homes for this directory that a crash left unfinished.
// Their keys were never used. One whose lock is taken is being made right now.
func removeStale(dir string) {
	stale, _ := filepath.Glob(dir + unfinished + "-*")
	for _, s := range stale {
		if lock, err := takeLock(s); err == nil {
			_ = os.RemoveAll(s)
			_ = lock.Close()
		}
	}
}

// build fills a new directory and makes it durable.
func (c *Creation) build(dir string, workFactor int) error {
	files, err := c.files(workFactor)
	if err != nil {
		return err
	}
	for _, name := range []string{pendingDir, privateDir, evidenceDir} {
		if err := os.Mkdir(filepath.Join(dir, name), dirMode); err != nil {
			return writeError(err)
		}
	}
	for _, f := range files {
		if err := createFile(filepath.Join(dir, f.name), f.content); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

type newFile struct {
	name    string
	content []byte
}

// files makes the keys and returns the files of a new home.
func (c *Creation) files(workFactor int) ([]newFile, error) {
	keys, confirm, err := c.keys()
	if err != nil {
		return nil, err
	}
	defer keys.Erase()
	defer confirm.Erase()

	content := make(map[string][]byte)
	if content[passphraseFile], err = wrap(c.Passphrase, workFactor, keys.secret.bytes[:]); err != nil {
		return nil, err
	}
	confirmKey := confirm.Bytes()
	defer clear(confirmKey)
	if content[confirmFile], err = wrap(c.ConfirmPassphrase, workFactor, confirmKey); err != nil {
		return nil, err
	}
	if content[confirmKeyFile], err = keys.SealFile(confirmKeyFile, confirm.PublicKey().Bytes()); err != nil {
		return nil, err
	}
	if content[keysFile], err = keys.SealKeys(ledger.AccountID{}, 0); err != nil {
		return nil, err
	}
	config := c.Config
	if config == nil {
		config = new(recordv1.HomeConfig)
	}
	if content[configFile], err = canonical.Marshal(config); err != nil {
		return nil, fmt.Errorf("home: config: %w", err)
	}
	for _, name := range []string{ledgerFile, serverSharesFile, activityFile, proofsFile, heldFile} {
		content[name] = []byte(magic(name))
	}
	files := make([]newFile, 0, len(content))
	for name, b := range content {
		files = append(files, newFile{name, b})
	}
	return files, nil
}

// keys makes the device secret, the keys that hang from it and the confirm key.
func (c *Creation) keys() (*SecretKeys, *signing.PrivateKey, error) {
	s := new(SecretKeys)
	_, err := io.ReadFull(c.Rand, s.secret.bytes[:])
	if err != nil {
		return nil, nil, fmt.Errorf("home: make the device secret: %w", err)
	}
	if s.sign, err = signing.GenerateKey(c.Rand); err != nil {
		s.Erase()
		return nil, nil, err
	}
	if s.seal, err = hpke.GenerateKey(c.Rand); err != nil {
		s.Erase()
		return nil, nil, err
	}
	confirm, err := signing.GenerateKey(c.Rand)
	if err != nil {
		s.Erase()
		return nil, nil, err
	}
	return s, confirm, nil
}

// createFile makes a file of a directory that is not in place yet.
func createFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return writeError(err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return writeError(err)
	}
	return nil
}

// renameDir gives a finished directory its name. os.Rename would refuse to put
// it in the place of an empty one.
func renameDir(from, to string) error {
	if err := syscall.Rename(from, to); err != nil {
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("%w: %s", ErrExists, to)
		}
		return writeError(err)
	}
	return syncDir(filepath.Dir(to))
}
