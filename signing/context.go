// Package signing has ZeroPass's key types, its ECDSA signatures and the one
// encoding of what they sign.
//
// Whatever is signed, sealed or encrypted is first described by a [Context]: a
// kind and a list of parts. Make it with [NewContext], or from a [Sealing] for
// a ciphertext, and give it to [PrivateKey.Sign], to HPKE as info, or to an
// AEAD as associated data. A signature or a ciphertext of one kind is then
// worthless as any other.
//
// The encoding, the key derivation and the signatures never change within
// version 1: what they produced is kept forever.
package signing

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// prefix starts every context, so that nothing that another program signs with
// the same key can be mistaken for ours.
const prefix = "zeropass/v1/"

// Context is the one canonical, length-prefixed encoding under every
// signature, HPKE info and AEAD associated data:
//
//	"zeropass/v1/" ‖ kind ‖ 0x00 ‖ part ‖ part ‖ ...
//
// where a part is its length in bytes as 4 bytes big-endian, and its bytes.
//
// Different kinds or different lists of parts never encode to the same bytes.
// Parts carry no type: Uint(1) and Bytes of the same 8 bytes are one part. So
// all contexts of one kind must have the same parts in the same order, and
// where a group of parts repeats, [Context.Count] must stand before it.
//
// The methods that add a part change the context and return it. A Context is
// not safe for concurrent use while parts are being added.
type Context struct {
	encoded []byte
}

// NewContext starts a context of a kind: lower-case ASCII letters, digits and
// '-', at least one, so that the zero byte after it ends it. It panics on any
// other kind, which only a mistake in the program can bring about.
func NewContext(kind string) *Context {
	if kind == "" {
		panic("signing: a context without a kind")
	}
	for i := range len(kind) {
		c := kind[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			panic("signing: a context's kind has lower-case letters, digits and '-' only")
		}
	}
	encoded := make([]byte, 0, 256)
	encoded = append(encoded, prefix...)
	encoded = append(encoded, kind...)
	return &Context{encoded: append(encoded, 0)}
}

// Bytes adds a part of any bytes; nil and empty are the same part. It panics
// on 2^32 bytes and more, which the encoding cannot say.
func (c *Context) Bytes(b []byte) *Context {
	c.length(len(b))
	c.encoded = append(c.encoded, b...)
	return c
}

// Text adds a part of a string's bytes. They are UTF-8 in every use, but a
// string that is not is taken as it is, so that no two strings ever meet.
func (c *Context) Text(s string) *Context {
	c.length(len(s))
	c.encoded = append(c.encoded, s...)
	return c
}

// Uint adds a part of 8 bytes, n in big-endian order.
func (c *Context) Uint(n uint64) *Context {
	c.length(8)
	c.encoded = binary.BigEndian.AppendUint64(c.encoded, n)
	return c
}

// Count adds the number of parts, or of groups of parts, that follow. It is
// encoded as [Context.Uint] encodes it, and panics on a negative number.
func (c *Context) Count(n int) *Context {
	if n < 0 {
		panic("signing: a context counts a negative number of parts")
	}
	return c.Uint(uint64(n))
}

func (c *Context) length(n int) {
	if uint64(n) > math.MaxUint32 {
		panic("signing: a part of a context is 2^32 bytes or longer")
	}
	c.encoded = binary.BigEndian.AppendUint32(c.encoded, uint32(n))
}

// Encode returns a copy of the context's bytes.
func (c *Context) Encode() []byte {
	return slices.Clone(c.encoded)
}

// Hash returns the SHA-256 of the context's bytes. It is what signatures are
// made over.
func (c *Context) Hash() [32]byte {
	return sha256.Sum256(c.encoded)
}
