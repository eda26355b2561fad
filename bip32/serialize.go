package bip32

import (
	"encoding/binary"
	"fmt"
)

// The serialization of an extended key (BIP32, "Serialization format"), 78
// bytes, integers big-endian:
//
//	offset  size
//	     0     4  version: 0x0488ADE4 private (xprv), 0x0488B21E public (xpub)
//	     4     1  depth
//	     5     4  fingerprint of the parent
//	     9     4  child number
//	    13    32  chain code
//	    45    33  private: 0x00 ‖ ser256(k); public: serP(K)
const (
	serializedSize = 78

	offsetDepth       = 4
	offsetParent      = 5
	offsetChildNumber = 9
	offsetChainCode   = 13
	offsetKey         = 45

	versionPrivate uint32 = 0x0488ADE4
	versionPublic  uint32 = 0x0488B21E

	prefixPrivate = 0x00
	prefixEven    = 0x02 // SEC 1, section 2.3.3
	prefixOdd     = 0x03
)

// Encode returns the Base58Check form of the extended private key, 111
// characters that begin with xprv. Whoever reads it has the key and all
// below it, and it cannot be erased. It panics if k was erased.
func (k *PrivateKey) Encode() string {
	k.mustLive()
	var b [serializedSize]byte
	defer clear(b[:])
	k.public.origin.put(&b, versionPrivate)
	scalar := k.scalar.Bytes()
	defer clear(scalar)
	copy(b[offsetKey+1:], scalar)
	return encodeBase58Check(&b)
}

// Encode returns the Base58Check form of the extended public key, 111
// characters that begin with xpub.
func (k *PublicKey) Encode() string {
	return encodeBase58Check((*[serializedSize]byte)(k.Serialize()))
}

// Serialize returns the extended public key in BIP32's serialization, 78
// bytes, with the version of xpub and without checksum.
func (k *PublicKey) Serialize() []byte {
	var b [serializedSize]byte
	k.put(&b, versionPublic)
	copy(b[offsetKey:], k.compressed[:])
	return b[:]
}

// ParsePrivate reads an extended private key from its Base58Check form. It
// admits nothing but what [PrivateKey.Encode] writes.
//
// It returns ErrLength, ErrCharacter, ErrChecksum, ErrVersion, ErrMismatch,
// ErrPrefix, ErrDepthZero or ErrInvalidKey.
func ParsePrivate(s string) (*PrivateKey, error) {
	b, err := decodeBase58Check(s)
	if err != nil {
		return nil, err
	}
	defer clear(b[:])
	from, err := parseOrigin(b, versionPrivate)
	if err != nil {
		return nil, err
	}
	switch b[offsetKey] {
	case prefixPrivate:
	case prefixEven, prefixOdd:
		return nil, fmt.Errorf("%w: private version, public key", ErrMismatch)
	default:
		return nil, fmt.Errorf("%w of a private key", ErrPrefix)
	}
	scalar, err := parseScalar((*[scalarSize]byte)(b[offsetKey+1:]))
	if err != nil {
		return nil, err
	}
	defer scalar.Zero()
	return newPrivateKey(scalar, from), nil
}

// ParsePublic reads an extended public key from its Base58Check form. It
// admits nothing but what [PublicKey.Encode] writes.
//
// It returns ErrLength, ErrCharacter, ErrChecksum, ErrVersion, ErrMismatch,
// ErrPrefix, ErrDepthZero or ErrInvalidKey.
func ParsePublic(s string) (*PublicKey, error) {
	b, err := decodeBase58Check(s)
	if err != nil {
		return nil, err
	}
	defer clear(b[:])
	return ParseSerializedPublic(b[:])
}

// ParseSerializedPublic reads an extended public key from BIP32's
// serialization. It admits nothing but what [PublicKey.Serialize] writes.
//
// It returns ErrLength if b is not 78 bytes, ErrVersion, ErrMismatch,
// ErrPrefix, ErrDepthZero or ErrInvalidKey.
func ParseSerializedPublic(b []byte) (*PublicKey, error) {
	if len(b) != serializedSize {
		return nil, fmt.Errorf("%w: a serialized extended key has %d bytes, not %d", ErrLength, serializedSize, len(b))
	}
	from, err := parseOrigin((*[serializedSize]byte)(b), versionPublic)
	if err != nil {
		return nil, err
	}
	switch b[offsetKey] {
	case prefixEven, prefixOdd:
	case prefixPrivate:
		return nil, fmt.Errorf("%w: public version, private key", ErrMismatch)
	default:
		return nil, fmt.Errorf("%w of a public key", ErrPrefix)
	}
	return parsePoint((*[pointSize]byte)(b[offsetKey:]), from)
}

// put writes all but the key.
func (o *origin) put(b *[serializedSize]byte, version uint32) {
	binary.BigEndian.PutUint32(b[:], version)
	b[offsetDepth] = o.depth
	copy(b[offsetParent:], o.parent[:])
	binary.BigEndian.PutUint32(b[offsetChildNumber:], o.childNumber)
	copy(b[offsetChainCode:], o.chainCode[:])
}

// parseOrigin reads all but the key, and checks what can be checked without
// it.
func parseOrigin(b *[serializedSize]byte, want uint32) (origin, error) {
	switch version := binary.BigEndian.Uint32(b[:]); {
	case version == want:
	case version == versionPrivate:
		return origin{}, fmt.Errorf("%w: a private key (xprv) where a public key (xpub) belongs", ErrVersion)
	case version == versionPublic:
		return origin{}, fmt.Errorf("%w: a public key (xpub) where a private key (xprv) belongs", ErrVersion)
	default:
		return origin{}, fmt.Errorf("%w: neither xprv nor xpub", ErrVersion)
	}
	o := origin{
		depth:       b[offsetDepth],
		parent:      [fingerprintSize]byte(b[offsetParent:]),
		childNumber: binary.BigEndian.Uint32(b[offsetChildNumber:]),
		chainCode:   [chainCodeSize]byte(b[offsetChainCode:]),
	}
	if o.depth == 0 && o.parent != [fingerprintSize]byte{} {
		return origin{}, fmt.Errorf("%w: the parent fingerprint is not zero", ErrDepthZero)
	}
	if o.depth == 0 && o.childNumber != 0 {
		return origin{}, fmt.Errorf("%w: the child number is not zero", ErrDepthZero)
	}
	return o, nil
}
