// Package adversary tries to open an account's secrets with whatever a set of
// parties has.
//
// [Server], [Device] and [Sheet] take everything that one party has; [Attack]
// puts parties together and says which [Target] it opened. Nothing here asks who
// may do what. It is brute force over structure:
//
//   - Every file, row, record and message is taken apart to its last byte string.
//   - Every string of 32 bytes is a key, whatever it was meant for, and so is what
//     the specification derives from strings, seeds and shares.
//   - Every key is tried on every ciphertext under every context that chapter 3 of
//     the specification allows, filled with the values found around the
//     ciphertext: accounts, epochs, slots, members, devices, generations.
//   - All SLIP-39 shares are combined, and all shares of one thing by Shamir.
//   - What comes out is taken apart again, until nothing new appears.
//
// At the end all raw material and all plaintexts are searched for the targets,
// as they are, in hexadecimal and in base64.
//
// # What is left out
//
// Three things keep the search small, and none asks for a rule of the program. A
// ciphertext that begins with a point of the curve is HPKE's and any other one
// AES-GCM's, each with the contexts that the specification gives that form. A
// private key is tried on HPKE's ciphertexts if its public key stands anywhere in
// what the parties have. A pair of key and ciphertext that one party has alone is
// tried once, when the party is first attacked with.
//
// Passphrases are not guessed: a device's directory comes with its passphrase and
// without its confirm passphrase.
package adversary
