package signing

// Suite is the number of the one cipher suite there is: RFC 9180 base mode
// with DHKEM(secp256k1, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM; AES-256-GCM
// under symmetric keys; ECDSA on secp256k1 with SHA-256.
const Suite = 1

// Sealing says what a ciphertext is bound to. Whoever opens it must know all
// of it beforehand; none of it is taken from the ciphertext.
type Sealing struct {
	Kind      string // of the context, "slot-metadata" for one
	Account   []byte // 32 bytes; empty in Genesis and before
	Epoch     uint64 // 0 for what belongs to no epoch
	Object    []byte // the id of the sealed thing, empty if it has none
	Version   uint64 // of the object, 0 if it has none
	Role      string // of the ciphertext in the object
	Sender    string // "device/1" or "server", for example
	Recipient string // likewise
}

// Context returns the context for HPKE's info or an AEAD's associated data. It
// panics on a bad Kind, as [NewContext] does.
func (s Sealing) Context() *Context {
	return NewContext(s.Kind).
		Uint(Suite).
		Bytes(s.Account).
		Uint(s.Epoch).
		Bytes(s.Object).
		Uint(s.Version).
		Text(s.Role).
		Text(s.Sender).
		Text(s.Recipient)
}
