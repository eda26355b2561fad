// Package slip39 splits a secret into SLIP-39 shares, which people can write
// down as words, and combines such shares again.
//
// It implements SLIP-0039, "Shamir's Secret-Sharing for Mnemonic Codes"
// (SatoshiLabs, status Final, with the extendable backup flag), completely: both
// levels of sharing, every secret length that the standard allows, passphrases
// and every iteration exponent. Sections below are named as in the standard.
//
// # Which function to call
//
// [Split] makes the shares of a secret; [Share.Mnemonic] and
// [Share.MarshalBinary] write one down, [Parse] and [ParseBinary] read it back.
//
// [Combine] takes exactly the shares that are needed and refuses anything else,
// as the standard demands. [Recover] is for people in trouble: it takes whatever
// shares turned up, finds those that belong together and says what is the matter
// with each of the others. [LocateError] tells somebody who typed a mnemonic
// which word to look at again.
//
// # The scheme
//
// The master secret is encrypted by a four-round Feistel network whose round
// function is PBKDF2-HMAC-SHA256 keyed by the passphrase ("Encryption of the
// master secret"). The result is split by Shamir's scheme over GF(2^8) modulo
// x^8+x^4+x^3+x+1 into one share for each group, any GroupThreshold of which
// suffice; each group share is split again into member shares, any Threshold of
// which give it back ("Two-level scheme"). The secret lies at x = 255, share i at
// x = i; at x = 254 lies a digest (below). A threshold of 1 copies the value.
//
// A mnemonic is one bit string cut into words of 10 bits ("Format of the share
// mnemonic"):
//
//	identifier 15 | extendable 1 | iteration exponent 4 |
//	group index 4 | group threshold-1 4 | group count-1 4 |
//	member index 4 | member threshold-1 4 |
//	zero padding 0..8 | share value 8n | RS1024 checksum 30
//
// # What it protects, and what it does not
//
// Fewer shares than a threshold say nothing about a uniformly random secret,
// whatever the adversary's computing power, apart from the digest.
//
// The digest is 4 bytes of HMAC-SHA256 of the secret under a random key, shared
// together with the secret wherever a threshold is at least 2. One share less
// than the threshold lets its holder test guesses at the secret against these 32
// bits ("Design rationale"). A uniformly random secret of 16 bytes or more loses
// nothing by that. A password does: never split passwords with this package.
//
// The digest finds honest mistakes, and forgeries by a holder who does not know
// the other shares, except with probability 2^-32. It is not a signature: whoever
// knows enough of the other shares can make a wrong one that fits, and where a
// threshold is 1 there is no digest at all. When it matters who made a secret,
// compare it with something public, such as a root public key; [Recover] takes a
// function for that.
//
// The passphrase is not verified by anything: a wrong one gives another secret,
// by the standard's intention. The RS1024 checksum detects every error in up to
// three words of one mnemonic and misses others with probability below 10^-9; it
// is not secret and protects from nobody.
//
// With the extendable flag set, identifier and set can be renewed without changing
// the encrypted secret, because neither enters the encryption. Without it, the
// identifier salts the encryption. New backups should set it.
//
// # Constant time
//
// Interpolation, digests, encryption, checksums and the packing of bits do not
// branch on, or index memory with, secret data; their time depends on lengths,
// indices, thresholds and the iteration exponent only. Looking up words in the
// word list is not constant time, in either direction: [Share.Mnemonic], [Parse]
// and [LocateError] show a co-resident observer of the cache which words a share
// has. They are meant for a person's own screen and keyboard. Programs that keep
// or send shares use [Share.MarshalBinary] and [ParseBinary].
//
// Whether shares fit together is not treated as secret.
//
// Intermediate secrets are erased. Three things cannot be: the string that
// [Share.Mnemonic] returns, the string given to [Parse], and the copies of the
// passphrase that crypto/pbkdf2 takes as strings.
//
// # Limits
//
// Secrets have an even number of bytes, at least [MinSecretSize] (the standard's)
// and at most [MaxSecretSize] (ours: the standard names none, but the checksum
// keeps its promise only within a code word of 1023 symbols).
package slip39
