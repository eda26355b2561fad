package home

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxKeystore is the size in bytes of the largest file "keystore". What a TPM
// or a keyring needs comes to a few hundred.
const maxKeystore = 4096

// HasKeystore tells whether the home in a directory can be opened with a TPM or
// a keyring, if all is well, before it is opened.
func HasKeystore(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, keystoreFile))
	return err == nil
}

// Keystore returns what PutKeystore stored: a HomeKeystore in the encoding of
// package canonical, which this package does not read. ErrNotFound is the error
// where only the passphrase opens the home.
func (h *Home) Keystore() ([]byte, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, ErrClosed
	}
	return readLimited(h.path(keystoreFile), keystoreFile, maxKeystore)
}

// PutKeystore stores what this machine needs to open the device secret without
// the passphrase, at most 4096 bytes. Whatever it is, the passphrase opens the
// home too.
func (h *Home) PutKeystore(b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	if len(b) > maxKeystore {
		return fmt.Errorf("%w: a keystore file of %d bytes, at most %d are read", ErrWrite, len(b), maxKeystore)
	}
	return writeFile(h.path(keystoreFile), b)
}

// RemoveKeystore leaves the passphrase as the only way in. That there is no
// other is no error.
func (h *Home) RemoveKeystore() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	return removeFile(h.path(keystoreFile))
}
