package signing

// Signer signs contexts with a key that it need not show: a [PrivateKey], or one
// that another process keeps. Signing through a process can fail.
type Signer interface {
	// PublicKey returns the key that verifies the signatures.
	PublicKey() *PublicKey
	// SignContext returns what [PrivateKey.Sign] returns for the context.
	SignContext(c *Context) ([]byte, error)
}

// SignContext is Sign for a [Signer]. It returns no error.
func (k *PrivateKey) SignContext(c *Context) ([]byte, error) { return k.Sign(c), nil }
