package adversary

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"

	"gitlab.com/yawning/secp256k1-voi"

	"zeropass.dev/zeropass/credential"
)

// key is a string that may be a key. One of 16 bytes only derives others.
type key struct {
	bytes        []byte
	gcm          cipher.AEAD
	private      *secp256k1.Scalar // nil if it is none
	public       []byte            // 33 bytes
	uncompressed []byte            // 65 bytes
}

func newKey(b []byte) *key {
	k := &key{bytes: slices.Clone(b)}
	if len(b) != 32 {
		return k
	}
	k.gcm = newGCM(b)
	scalar, err := secp256k1.NewScalarFromCanonicalBytes((*[32]byte)(b))
	if err != nil || scalar.IsZero() == 1 {
		return k
	}
	point := secp256k1.NewIdentityPoint().ScalarBaseMult(scalar)
	k.private, k.public, k.uncompressed = scalar, point.CompressedBytes(), point.UncompressedBytes()
	return k
}

func (k *key) erase() {
	clear(k.bytes)
	if k.private != nil {
		k.private.Zero()
	}
}

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // keys have 32 bytes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return gcm
}

// Sizes in bytes.
const (
	pointSize = 65
	nonceSize = 12
	tagSize   = 16
)

// ciphertext is one, with the point that it begins with if it is HPKE's.
type ciphertext struct {
	bytes []byte
	point *secp256k1.Point
}

// newCiphertext finds out which of the two forms a ciphertext has: other bytes
// than a point's are one with probability 2^-256.
func newCiphertext(b []byte) ciphertext {
	c := ciphertext{bytes: slices.Clone(b)}
	if len(b) >= pointSize+tagSize && b[0] == 4 {
		if point, err := secp256k1.NewIdentityPoint().SetUncompressedBytes(b[:pointSize]); err == nil {
			c.point = point
		}
	}
	return c
}

func (c *ciphertext) isHPKE() bool { return c.point != nil }

// plaintext is what came out of a ciphertext.
type plaintext struct {
	bytes  []byte
	object string
	around scope
}

// try tries all keys on all ciphertexts, where that was not done before.
func (k *knowledge) try(ctx context.Context) ([]plaintext, error) {
	keys := slices.Collect(maps.Values(k.keys))
	lists, err := credential.Map(ctx, keys, func(ctx context.Context, t *tried) ([]plaintext, error) {
		trial := trial{key: t.key, active: t.active, derived: map[string]cipher.AEAD{}}
		for _, s := range k.sealed {
			if max(t.round, s.round) == k.round && t.mask&s.mask == 0 {
				trial.open(s)
			}
		}
		return trial.opened, ctx.Err()
	})
	return slices.Concat(lists...), err
}

// trial is one key being tried.
type trial struct {
	*key
	active  bool
	derived map[string]cipher.AEAD // by HKDF's info
	scratch []byte
	opened  []plaintext
}

// open tries the key under every context of a ciphertext.
func (t *trial) open(s *sealed) {
	if s.isHPKE() {
		if t.active {
			t.openHPKE(s)
		}
		return
	}
	for _, c := range s.contexts {
		if t.gcm != nil {
			t.openGCM(t.gcm, s.bytes[:nonceSize], s.bytes[nonceSize:], c.encoded, c)
		}
		if c.derive != nil {
			t.openGCM(t.derive(c.derive), s.bytes[:nonceSize], s.bytes[nonceSize:], c.encoded, c)
		}
	}
}

func (t *trial) derive(info []byte) cipher.AEAD {
	if gcm, ok := t.derived[string(info)]; ok {
		return gcm
	}
	derived, err := hkdf.Key(sha256.New, t.bytes, nil, string(info), 32)
	if err != nil {
		panic(err) // 32 bytes are not too many
	}
	gcm := newGCM(derived)
	t.derived[string(info)] = gcm
	return gcm
}

func (t *trial) openGCM(gcm cipher.AEAD, nonce, ciphertext, data []byte, c placed) {
	t.scratch = slices.Grow(t.scratch[:0], len(ciphertext))
	if b, err := gcm.Open(t.scratch[:0], nonce, ciphertext, data); err == nil {
		t.opened = append(t.opened, plaintext{slices.Clone(b), c.object, c.around})
	}
}

// openHPKE is RFC 9180 section 6.1, OpenBase, written once more: the shared secret
// is computed once for all contexts.
func (t *trial) openHPKE(s *sealed) {
	x, err := secp256k1.NewIdentityPoint().ScalarMult(t.private, s.point).XBytes()
	if err != nil {
		return
	}
	shared := expander(labeledExtract(kemSuite, nil, "eae_prk", x)).expand(kemSuite, "shared_secret", 32, s.bytes[:pointSize], t.uncompressed)
	schedule := expander(labeledExtract(hpkeSuite, shared, "secret", nil))
	mode := []byte{0} // base
	for _, c := range s.contexts {
		key := schedule.expand(hpkeSuite, "key", 32, mode, pskIDHash, c.infoHash)
		nonce := schedule.expand(hpkeSuite, "base_nonce", nonceSize, mode, pskIDHash, c.infoHash)
		t.openGCM(newGCM(key), nonce, s.bytes[pointSize:], nil, c)
	}
}

// The suite's identifiers, RFC 9180 sections 4.1 and 5.1.
var (
	kemSuite  = "KEM\x00\x16"
	hpkeSuite = "HPKE\x00\x16\x00\x01\x00\x02"
	pskIDHash = labeledExtract(hpkeSuite, nil, "psk_id_hash", nil)
)

func infoHash(info []byte) []byte { return labeledExtract(hpkeSuite, nil, "info_hash", info) }

// labeledExtract is RFC 9180 section 4, LabeledExtract.
func labeledExtract(suite string, salt []byte, label string, ikm []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, append([]byte("HPKE-v1"+suite+label), ikm...), salt)
	if err != nil {
		panic(err) // only FIPS mode refuses anything
	}
	return prk
}

// expansion is HMAC under one pseudorandom key, which expands to many.
type expansion struct{ hash.Hash }

func expander(prk []byte) expansion { return expansion{hmac.New(sha256.New, prk)} }

// expand is RFC 9180 section 4, LabeledExpand, for at most 32 bytes: HKDF's first
// block.
func (e expansion) expand(suite, label string, size int, info ...[]byte) []byte {
	e.Reset()
	e.Write(binary.BigEndian.AppendUint16(nil, uint16(size)))
	e.Write([]byte("HPKE-v1" + suite + label))
	for _, part := range info {
		e.Write(part)
	}
	e.Write([]byte{1})
	return e.Sum(nil)[:size]
}
