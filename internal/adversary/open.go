package adversary

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
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
}

// try tries all keys on all ciphertexts, where that was not done before.
func (k *knowledge) try(ctx context.Context) ([]plaintext, error) {
	var keys []*tried
	for _, t := range k.keys {
		keys = append(keys, t)
	}
	lists, err := credential.Map(ctx, keys, func(ctx context.Context, t *tried) ([]plaintext, error) {
		var list []plaintext
		for _, s := range k.sealed {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if max(t.round, s.round) == k.round && t.mask&s.mask == 0 {
				list = append(list, s.open(t)...)
			}
		}
		return list, nil
	})
	return slices.Concat(lists...), err
}

// open tries one key under every context.
func (s *sealed) open(t *tried) (list []plaintext) {
	if s.isHPKE() {
		if t.active {
			return s.openHPKE(t.key)
		}
		return nil
	}
	for _, c := range s.contexts {
		if t.gcm != nil {
			list = s.tryGCM(list, t.gcm, c)
		}
		if c.derive != nil {
			derived, err := hkdf.Key(sha256.New, t.bytes, nil, string(c.derive), 32)
			if err != nil {
				panic(err) // 32 bytes are not too many
			}
			list = s.tryGCM(list, newGCM(derived), c)
		}
	}
	return list
}

func (s *sealed) tryGCM(list []plaintext, gcm cipher.AEAD, c placed) []plaintext {
	if b, err := gcm.Open(nil, s.bytes[:nonceSize], s.bytes[nonceSize:], c.encoded); err == nil {
		list = append(list, plaintext{b, c.object})
	}
	return list
}

// openHPKE is RFC 9180 section 6.1, OpenBase, written once more: the shared secret
// is computed once for all contexts.
func (s *sealed) openHPKE(k *key) (list []plaintext) {
	x, err := secp256k1.NewIdentityPoint().ScalarMult(k.private, s.point).XBytes()
	if err != nil {
		return nil
	}
	shared := labeledExpand(kemSuite, labeledExtract(kemSuite, nil, "eae_prk", x), "shared_secret", string(s.bytes[:pointSize])+string(k.uncompressed), 32)
	secret := labeledExtract(hpkeSuite, shared, "secret", nil)
	for _, c := range s.contexts {
		schedule := "\x00" + string(pskIDHash) + string(c.infoHash) // mode base
		gcm := newGCM(labeledExpand(hpkeSuite, secret, "key", schedule, 32))
		nonce := labeledExpand(hpkeSuite, secret, "base_nonce", schedule, nonceSize)
		if b, err := gcm.Open(nil, nonce, s.bytes[pointSize:], nil); err == nil {
			list = append(list, plaintext{b, c.object})
		}
	}
	return list
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

// labeledExpand is RFC 9180 section 4, LabeledExpand.
func labeledExpand(suite string, prk []byte, label, info string, size int) []byte {
	length := binary.BigEndian.AppendUint16(nil, uint16(size))
	out, err := hkdf.Expand(sha256.New, prk, string(length)+"HPKE-v1"+suite+label+info, size)
	if err != nil {
		panic(err) // 32 bytes are not too many
	}
	return out
}
