package hpke

// Opener opens messages with a key that it need not show: a [PrivateKey], or one
// that another process keeps.
type Opener interface {
	// PublicKey returns the key that seals to it.
	PublicKey() *PublicKey
	// Open returns what the function [Open] returns. Opening through a process has
	// that process's errors too.
	Open(info, aad, sealed []byte) ([]byte, error)
}

// Open is the function [Open] for an [Opener].
func (k *PrivateKey) Open(info, aad, sealed []byte) ([]byte, error) {
	return Open(k, info, aad, sealed)
}
