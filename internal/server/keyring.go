package server

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"zeropass.dev/zeropass/aead"
)

// Errors of changes to a key file's encryption keys.
var (
	ErrNoSuchKey   = errors.New("the key file has no such encryption key")
	ErrKeyInUse    = errors.New("the key encrypts what the server stores next")
	ErrOtherKeys   = errors.New("the key file has another server's keys by now")
	errKeyReplaced = errors.New("the key file changed meanwhile")
)

// encryptionKey encrypts what is secret at rest.
type encryptionKey struct {
	id  string
	key *aead.Key
}

func newEncryptionKey(rand io.Reader) (encryptionKey, error) {
	key, err := aead.GenerateKey(rand)
	if err != nil {
		return encryptionKey{}, err
	}
	id := make([]byte, 4)
	if _, err := io.ReadFull(rand, id); err != nil {
		return encryptionKey{}, err
	}
	return encryptionKey{hex.EncodeToString(id), key}, nil
}

// keyRing has the encryption keys of a key file, and follows it while the server
// runs.
type keyRing struct {
	path      string      // empty for keys that were made, not read
	forbidden fs.FileMode // rights that the file must not give
	public    []byte      // keys of the server that they belong to

	mu    sync.Mutex
	keys  []encryptionKey // the first encrypts
	stamp stamp
}

// stamp tells a file from the one that takes its place.
type stamp struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

func stampOf(info os.FileInfo) stamp { return stamp{info.ModTime(), info.Size(), info} }

func (s stamp) same(other stamp) bool {
	return s.modified.Equal(other.modified) && s.size == other.size && os.SameFile(s.info, other.info)
}

func (r *keyRing) all() []encryptionKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

// first returns the key that encrypts. It looks at the file each time, which costs
// little beside an encryption: when a key was added, the older ones get nothing more.
func (r *keyRing) first() encryptionKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Where the file cannot be read the keys that are here go on.
	_ = r.follow()
	return r.keys[0]
}

// key returns the key with this id. One that is not here may have been added, and
// used by another process, a moment ago.
func (r *keyRing) key(id string) (*aead.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 2 {
		for _, e := range r.keys {
			if e.id == id {
				return e.key, nil
			}
		}
		if err := r.follow(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("server: %w: %q, which encrypts something in the store", ErrNoSuchKey, id)
}

// follow reads the file again if it is another one by now.
func (r *keyRing) follow() error {
	if r.path == "" {
		return nil
	}
	info, err := os.Stat(r.path)
	if err != nil || r.stamp.same(stampOf(info)) {
		return err
	}
	read, err := readKeys(r.path, r.forbidden)
	if err != nil {
		return err
	}
	if !bytes.Equal(read.public(), r.public) {
		return ErrOtherKeys
	}
	r.keys, r.stamp = read.ring.keys, read.ring.stamp
	return nil
}

// Follow takes up the encryption keys of the key file as it is now. A running
// server does so by itself before it encrypts anything, and when it meets a key that
// it does not know. It returns an error as [ReadKeys] does, or [ErrOtherKeys], and
// goes on with the keys that it has.
func (k *Keys) Follow() error {
	k.ring.mu.Lock()
	defer k.ring.mu.Unlock()
	return k.ring.follow()
}

// KeyFile is a key file whose encryption keys an operator changes. A server
// encrypts with the first one, and opens with all. So a new key is added first,
// everything is encrypted anew by [Rotate], and the older key retires when nothing
// stands under it any more.
type KeyFile struct {
	path  string
	keys  *Keys
	now   func() time.Time
	stamp stamp
}

// OpenKeyFile reads a key file, as [ReadKeys] does, to change it.
func OpenKeyFile(path string, now func() time.Time) (*KeyFile, error) {
	// Of a link to it the file itself is replaced, not the link.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	keys, err := ReadKeys(path)
	if err != nil {
		return nil, err
	}
	return &KeyFile{path: path, keys: keys, now: now, stamp: keys.ring.stamp}, nil
}

// Keys returns what is in the file.
func (f *KeyFile) Keys() *Keys { return f.keys }

// IDs returns the ids of the encryption keys, that of the one that encrypts first.
func (f *KeyFile) IDs() []string { return f.keys.EncryptionKeys() }

// EncryptionKeys returns the ids of the encryption keys, that of the one that
// encrypts first.
func (k *Keys) EncryptionKeys() []string {
	var ids []string
	for _, e := range k.ring.all() {
		ids = append(ids, e.id)
	}
	return ids
}

// Changed returns when the file was last written.
func (f *KeyFile) Changed() time.Time { return f.stamp.modified }

// Add makes a new encryption key and returns its id. It encrypts from now on, or, as
// a standby, only opens until [KeyFile.Use]. The file as it was stays beside it, in
// the file that is returned.
func (f *KeyFile) Add(rand io.Reader, standby bool) (id, before string, err error) {
	made, err := newEncryptionKey(rand)
	if err != nil {
		return "", "", err
	}
	keys := append([]encryptionKey{made}, f.keys.ring.all()...)
	if standby {
		keys = append(f.keys.ring.all(), made)
	}
	before, err = f.replace(keys)
	return made.id, before, err
}

// Use makes a key the one that encrypts. It returns [ErrNoSuchKey].
func (f *KeyFile) Use(id string) (before string, err error) {
	keys, at, err := f.find(id)
	if err != nil {
		return "", err
	}
	chosen := keys[at]
	return f.replace(append([]encryptionKey{chosen}, slices.Delete(keys, at, at+1)...))
}

// Retire takes a key out of the file. That nothing stands under it is for the
// caller to see to. It returns [ErrNoSuchKey], or [ErrKeyInUse] for the key that
// encrypts.
func (f *KeyFile) Retire(id string) (before string, err error) {
	keys, at, err := f.find(id)
	if err != nil {
		return "", err
	}
	if at == 0 {
		return "", ErrKeyInUse
	}
	return f.replace(slices.Delete(keys, at, at+1))
}

func (f *KeyFile) find(id string) ([]encryptionKey, int, error) {
	keys := f.keys.ring.all()
	at := slices.IndexFunc(keys, func(e encryptionKey) bool { return e.id == id })
	if at < 0 {
		return nil, 0, fmt.Errorf("%w %q", ErrNoSuchKey, id)
	}
	return keys, at, nil
}

// replace writes the file with other encryption keys, and keeps the one that it
// takes the place of.
func (f *KeyFile) replace(keys []encryptionKey) (before string, err error) {
	changed := &Keys{sign: f.keys.sign, seal: f.keys.seal, ring: &keyRing{keys: keys}}
	err = changed.write(f.path, func(made string) error {
		info, err := os.Stat(f.path)
		if err == nil && !f.stamp.same(stampOf(info)) {
			err = errKeyReplaced
		}
		if err == nil {
			// Root may do this for the server's user.
			err = keepOwner(made, info)
		}
		if err == nil {
			before, err = f.keep()
		}
		if err == nil {
			err = os.Rename(made, f.path)
		}
		if err != nil {
			return errors.Join(err, os.Remove(made))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	now, err := OpenKeyFile(f.path, f.now)
	if err != nil {
		return "", err
	}
	*f = *now
	return before, nil
}

func keepOwner(made string, info os.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	return os.Chown(made, int(owner.Uid), int(owner.Gid))
}

// keep gives the file as it is a second name, which says when.
func (f *KeyFile) keep() (string, error) {
	name := f.path + ".before-" + f.now().UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		before := name
		if n > 1 {
			before = fmt.Sprintf("%s-%d", name, n)
		}
		if err := os.Link(f.path, before); !errors.Is(err, fs.ErrExist) {
			return before, err
		}
	}
}
