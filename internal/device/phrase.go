package device

import (
	"crypto/subtle"
	"strings"

	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// What a safety phrase is about. The purpose keeps a phrase that was compared for
// one thing from vouching for another.
const (
	purposeOwner    = "contact-owner" // the owner, for a contact
	purposeContact  = "contact"       // a contact, for the owner
	purposeRecovery = "recovery"      // a new device, for contacts and other devices
	purposeDevice   = "new-device"    // a new device that is to be added, for the other devices
	purposeAccount  = "account"       // the account itself, for a new device
)

const phraseWords = 8

// safetyPhrase returns the 8 words of one party: the first 80 bits of the hash
// over its account, the purpose and its keys, 10 bits to a word of SLIP-39's
// list, most significant first. Nothing in it is chosen by the server, and both
// screens show it, so that two people who read it to each other know that
// nobody stands between them.
func safetyPhrase(account ledger.AccountID, purpose string, keys ...[]byte) string {
	c := signing.NewContext("safety-phrase").Bytes(account[:]).Text(purpose).Count(len(keys))
	for _, key := range keys {
		c.Bytes(key)
	}
	hash := c.Hash()
	words := make([]string, phraseWords)
	for i := range words {
		at := 10 * i // bit
		pair := uint32(hash[at/8])<<16 | uint32(hash[at/8+1])<<8 | uint32(hash[at/8+2])
		words[i] = slip39.Word(uint16(pair >> (14 - at%8) & 1023))
	}
	return strings.Join(words, " ")
}

// samePhrase compares a phrase as somebody typed it with the right one. Case and
// spaces do not count.
func samePhrase(typed, phrase string) bool {
	got := strings.Join(strings.Fields(strings.ToLower(typed)), " ")
	return subtle.ConstantTimeCompare([]byte(got), []byte(phrase)) == 1
}
