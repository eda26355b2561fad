package hpke

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// The suite's numbers in IANA's HPKE registry.
const (
	kemID  = 0x0016 // DHKEM(secp256k1, HKDF-SHA256)
	kdfID  = 0x0001 // HKDF-SHA256
	aeadID = 0x0002 // AES-256-GCM
)

const (
	sharedSecretSize = 32 // Nsecret
	hashSize         = 32 // Nh
	keySize          = 32 // Nk of AES-256-GCM
	nonceSize        = 12 // Nn
	tagSize          = 16 // Nt
)

// modeBase is the mode byte of RFC 9180 §5, Table 1.
const modeBase = 0x00

// kemSuite is the suite_id of everything inside the KEM (RFC 9180 §4.1).
var kemSuite = binary.BigEndian.AppendUint16([]byte("KEM"), kemID)

// hpkeSuite is the suite_id of the key schedule (RFC 9180 §5.1). The AEAD is an
// argument because half of the public vectors were made with AES-128-GCM.
func hpkeSuite(aead uint16) []byte {
	id := binary.BigEndian.AppendUint16([]byte("HPKE"), kemID)
	id = binary.BigEndian.AppendUint16(id, kdfID)
	return binary.BigEndian.AppendUint16(id, aead)
}

// schedule is the state of RFC 9180 §5.1's KeySchedule from which key, base nonce
// and exporter secret are expanded.
type schedule struct {
	suite   []byte
	context []byte // key_schedule_context
	secret  []byte
}

// newSchedule runs the key schedule in base mode, where psk and psk_id are empty.
func newSchedule(aead uint16, sharedSecret, info []byte) *schedule {
	suite := hpkeSuite(aead)
	context := make([]byte, 0, 1+2*hashSize)
	context = append(context, modeBase)
	context = append(context, labeledExtract(suite, nil, "psk_id_hash", nil)...)
	context = append(context, labeledExtract(suite, nil, "info_hash", info)...)
	return &schedule{
		suite:   suite,
		context: context,
		secret:  labeledExtract(suite, sharedSecret, "secret", nil),
	}
}

func (s *schedule) expand(label string, size int) []byte {
	return labeledExpand(s.suite, s.secret, label, s.context, size)
}

func (s *schedule) erase() { clear(s.secret) }

// newContext returns the AEAD of a message and the nonce of its sequence number
// 0, the only one that a single-shot message has: the base nonce itself (RFC 9180
// §5.2).
func newContext(sharedSecret, info []byte) (cipher.AEAD, []byte, error) {
	s := newSchedule(aeadID, sharedSecret, info)
	defer s.erase()
	key := s.expand("key", keySize)
	defer clear(key)
	aead, err := newAEAD(key)
	if err != nil {
		return nil, nil, err
	}
	return aead, s.expand("base_nonce", nonceSize), nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// version begins every labeled input (RFC 9180 §4).
const version = "HPKE-v1"

// labeledExtract is RFC 9180 §4 LabeledExtract; the result has 32 bytes.
func labeledExtract(suite, salt []byte, label string, ikm []byte) []byte {
	labeled := make([]byte, 0, len(version)+len(suite)+len(label)+len(ikm))
	labeled = append(labeled, version...)
	labeled = append(labeled, suite...)
	labeled = append(labeled, label...)
	labeled = append(labeled, ikm...)
	defer clear(labeled)
	return must(hkdf.Extract(sha256.New, labeled, salt))
}

// labeledExpand is RFC 9180 §4 LabeledExpand. info holds public values only:
// points, hashes and counters, hence it may become a string.
func labeledExpand(suite, prk []byte, label string, info []byte, size int) []byte {
	labeled := make([]byte, 0, 2+len(version)+len(suite)+len(label)+len(info))
	labeled = binary.BigEndian.AppendUint16(labeled, uint16(size))
	labeled = append(labeled, version...)
	labeled = append(labeled, suite...)
	labeled = append(labeled, label...)
	labeled = append(labeled, info...)
	return must(hkdf.Expand(sha256.New, prk, string(labeled), size))
}

// must is for HKDF, which fails only for outputs of more than 255 hashes and,
// restricted to FIPS 140, for inputs of fewer than 14 bytes. The sizes here are
// constants far from both, whatever an attacker sends.
func must(b []byte, err error) []byte {
	if err != nil {
		panic("hpke: " + err.Error())
	}
	return b
}
