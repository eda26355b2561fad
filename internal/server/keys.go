package server

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// keyFileVersion is the first line of a key file. After it come, each on a line
// of its own: "sign" and "seal" with a private key, and one or more "encrypt"
// with an id and a key; the first of those encrypts, the others still decrypt
// (see [KeyFile]).
// Keys are 32 bytes in base64 (RFC 4648 section 4).
const keyFileVersion = "zeropass-server-keys v1"

// Errors of key files.
var (
	ErrKeyFile       = errors.New("not a key file of zeropass-server")
	ErrKeyFileAccess = errors.New("the key file can be read by other users")
)

// Keys are a server's keys. Make them with [GenerateKeys] or [ReadKeys].
type Keys struct {
	sign *signing.PrivateKey
	seal *hpke.PrivateKey
	ring *keyRing
}

// GenerateKeys makes a server's keys. Its errors are rand's.
func GenerateKeys(rand io.Reader) (*Keys, error) {
	sign, err := signing.GenerateKey(rand)
	if err != nil {
		return nil, err
	}
	seal, err := hpke.GenerateKey(rand)
	if err != nil {
		return nil, err
	}
	key, err := newEncryptionKey(rand)
	if err != nil {
		return nil, err
	}
	return &Keys{sign: sign, seal: seal, ring: &keyRing{keys: []encryptionKey{key}}}, nil
}

// SignKey returns the key that answers are signed with.
func (k *Keys) SignKey() *signing.PublicKey { return k.sign.PublicKey() }

// SealKey returns the key that server shares are sealed to.
func (k *Keys) SealKey() *hpke.PublicKey { return k.seal.PublicKey() }

// Public returns both public keys, 66 bytes, as a store has them that belongs to
// this server.
func (k *Keys) Public() []byte { return k.public() }

// public returns the sign key and the seal key, which say whose data a store has.
func (k *Keys) public() []byte { return append(k.SignKey().Bytes(), k.SealKey().Bytes()...) }

// Fingerprint returns the first 128 bits of the SHA-256 of both public keys, in
// hexadecimal groups of four, for people to compare.
func (k *Keys) Fingerprint() string {
	sum := sha256.Sum256(k.public())
	digits := hex.EncodeToString(sum[:16])
	var groups []string
	for i := 0; i < len(digits); i += 4 {
		groups = append(groups, digits[i:i+4])
	}
	return strings.Join(groups, " ")
}

func (k *Keys) encode() []byte {
	var b strings.Builder
	fmt.Fprintln(&b, keyFileVersion)
	fmt.Fprintln(&b, "sign", base64.StdEncoding.EncodeToString(k.sign.Bytes()))
	fmt.Fprintln(&b, "seal", base64.StdEncoding.EncodeToString(k.seal.Bytes()))
	for _, e := range k.ring.all() {
		fmt.Fprintln(&b, "encrypt", e.id, base64.StdEncoding.EncodeToString(e.key.Bytes()))
	}
	return []byte(b.String())
}

// parseKeys is strict: what it admits, encode writes again.
func parseKeys(b []byte) (*Keys, error) {
	lines := strings.Split(string(b), "\n")
	if lines[0] != keyFileVersion {
		return nil, fmt.Errorf("%w: line 1 is not %q", ErrKeyFile, keyFileVersion)
	}
	if len(lines) < 5 || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("%w: it ends too early", ErrKeyFile)
	}
	k := &Keys{ring: &keyRing{}}
	ids := map[string]bool{}
	for i, line := range lines[1 : len(lines)-1] {
		words := strings.Split(line, " ")
		key, err := base64.StdEncoding.Strict().DecodeString(words[len(words)-1])
		if err == nil {
			switch {
			case i == 0 && len(words) == 2 && words[0] == "sign":
				k.sign, err = signing.NewPrivateKey(key)
			case i == 1 && len(words) == 2 && words[0] == "seal":
				k.seal, err = hpke.NewPrivateKey(key)
			case i >= 2 && len(words) == 3 && words[0] == "encrypt" && words[1] != "" && !ids[words[1]]:
				ids[words[1]] = true
				var encrypt *aead.Key
				encrypt, err = aead.NewKey(key)
				k.ring.keys = append(k.ring.keys, encryptionKey{words[1], encrypt})
			default:
				err = ErrKeyFile
			}
		}
		clear(key)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d is not as this program writes it", ErrKeyFile, i+2)
		}
	}
	return k, nil
}

// ReadKeys reads a key file, which nobody but its owner may be able to read. It
// returns an error that wraps io/fs.ErrNotExist, [ErrKeyFileAccess] or
// [ErrKeyFile].
func ReadKeys(path string) (*Keys, error) { return readKeys(path, 0o077) }

// ReadCredential reads a key file that the service manager has put where this
// service alone may look. Its mode says less than that: systemd lets the service's
// user in by an access control list, whose mask stands where the group's rights do.
// It returns the errors of ReadKeys.
func ReadCredential(path string) (*Keys, error) { return readKeys(path, 0o037) }

// readKeys refuses a file with any of these rights.
func readKeys(path string, forbidden fs.FileMode) (*Keys, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is no regular file", path, ErrKeyFile)
	}
	if info.Mode().Perm()&forbidden != 0 {
		return nil, fmt.Errorf("%s: %w: its mode is %04o", path, ErrKeyFileAccess, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	defer clear(b)
	k, err := parseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	k.ring.path, k.ring.forbidden, k.ring.public, k.ring.stamp = path, forbidden, k.public(), stampOf(info)
	return k, nil
}

// WriteKeys makes a key file with mode 0600, whole or not at all. It returns an
// error that wraps io/fs.ErrExist if there is a file already.
func WriteKeys(path string, k *Keys) error {
	// A link, unlike a rename, never takes the place of a file that exists.
	return k.write(path, func(made string) error { return errors.Join(os.Link(made, path), os.Remove(made)) })
}

// write writes the keys to a file beside path, gives that its place, and leaves
// none behind.
func (k *Keys) write(path string, place func(made string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".zeropass-server-keys-*") // mode 0600
	if err != nil {
		return err
	}
	b := k.encode()
	defer clear(b)
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := place(f.Name()); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

const redacted = "[secret]"

// Format writes "[secret]" for every verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[secret]".
func (k Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }
