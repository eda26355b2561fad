package signing

import (
	"crypto"

	"gitlab.com/yawning/secp256k1-voi/secec"
)

// Sign signs the context with ECDSA (SEC 1 section 4.1.3) over its SHA-256,
// with the nonce of RFC 6979 and s in the lower half (BIP 62), so that one key
// gives one signature of one context. It returns 64 bytes, r ‖ s, and panics if
// the key was erased.
func (k *PrivateKey) Sign(c *Context) []byte {
	digest := c.Hash()
	return k.sign(digest[:])
}

func (k *PrivateKey) sign(digest []byte) []byte {
	b := k.Bytes()
	defer clear(b)
	// The curve package's key cannot be erased, so it lives for one signature.
	key, err := secec.NewPrivateKey(b)
	if err != nil {
		panic("signing: a private key is damaged in memory")
	}
	signature, err := key.Sign(secec.RFC6979SHA256(), digest, &secec.ECDSAOptions{
		Hash:     crypto.SHA256,
		Encoding: secec.EncodingCompact,
		// With a nonce that repeats, one faulty signature beside the right one
		// gives the key away; so none leaves before it has been verified.
		SelfVerify: true,
	})
	if err != nil {
		panic("signing: a signature does not verify: the machine computes wrongly")
	}
	return signature
}

// Verify says whether the signature is this key's over the context. It admits
// 64 bytes with r and s in 1..n-1 and s in the lower half, nothing else: nobody
// can turn one valid signature into another.
func (k *PublicKey) Verify(c *Context, signature []byte) bool {
	digest := c.Hash()
	return k.verify(digest[:], signature)
}

func (k *PublicKey) verify(digest, signature []byte) bool {
	if len(signature) != SignatureSize {
		return false
	}
	return k.point.Verify(digest, signature, &secec.ECDSAOptions{
		Hash:            crypto.SHA256,
		Encoding:        secec.EncodingCompact,
		RejectMalleable: true,
	})
}
