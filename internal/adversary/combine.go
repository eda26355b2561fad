package adversary

import (
	"crypto/sha256"
	"crypto/sha512"
	"maps"
	"slices"
	"strconv"

	"zeropass.dev/zeropass/bip32"
	"zeropass.dev/zeropass/shamir"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// openedPart takes a plaintext, which may be a share of what it was bound to.
func (k *knowledge) openedPart(o plaintext) {
	k.opened(o.bytes, o.around)
	if o.object != "" {
		k.addPart(o.object, string(o.bytes))
		k.places[o.object] = o.around
	}
}

// once says whether something is done for the first time.
func (k *knowledge) once(what string, parts ...string) bool {
	hash := sha256.New()
	for _, part := range append([]string{what}, parts...) {
		sum := sha256.Sum256([]byte(part))
		hash.Write(sum[:])
	}
	sum := string(hash.Sum(nil))
	if k.done[sum] {
		return false
	}
	k.done[sum] = true
	return true
}

// combine puts together all shares that there are.
func (k *knowledge) combine() {
	for object, parts := range k.parts {
		k.combineAll(slices.Collect(maps.Keys(parts)), k.places[object])
	}
	for _, siblings := range k.siblings {
		var shares []string
		for _, hash := range siblings {
			if f, ok := k.strings[hash]; ok {
				shares = append(shares, string(f.bytes))
			}
		}
		k.combineAll(shares, scope{})
	}
	k.combineSeeds()
	k.combineHalves()
	k.deriveShareKeys()
	for seed := range k.seeds {
		k.derive(seed)
	}
}

// combineAll combines every two and every three shares of equal length.
func (k *knowledge) combineAll(shares []string, around scope) {
	slices.Sort(shares)
	for i, a := range shares {
		for j, b := range shares[:i] {
			k.combineShares(around, a, b)
			for _, c := range shares[:j] {
				k.combineShares(around, a, b, c)
			}
		}
	}
}

func (k *knowledge) combineShares(around scope, shares ...string) {
	given := make([][]byte, len(shares))
	for i, share := range shares {
		given[i] = []byte(share)
	}
	if len(given[0]) < 34 || !k.once("shamir", shares...) {
		return
	}
	secret, err := shamir.Combine(given)
	if err != nil {
		return // of two lengths, or of one coordinate
	}
	k.opened(secret, around)
	// A secret stands behind a key of 32 bytes.
	k.addKey(secret[:32])
	if record, ok := unpadded(secret[32:]); ok {
		k.harvest(record, around, true)
	}
}

// combineSeeds recovers whatever secrets the SLIP-39 shares give.
func (k *knowledge) combineSeeds() {
	sets := map[uint16][]*slip39.Share{}
	for _, name := range slices.Sorted(maps.Keys(k.shares)) {
		share := k.shares[name]
		sets[share.Identifier()] = append(sets[share.Identifier()], share)
	}
	for _, shares := range sets {
		names := make([]string, len(shares))
		for i, share := range shares {
			b, err := share.MarshalBinary()
			if err != nil {
				continue
			}
			names[i] = string(b)
		}
		if !k.once("slip39", names...) {
			continue
		}
		// Refusing every secret gives all of them. The last error is that none was
		// left.
		_, _, _ = slip39.Recover(shares, nil, func(secret []byte) bool {
			k.opened(secret, scope{})
			if len(secret) == 64 {
				k.addSeed(string(secret))
			}
			return false
		})
	}
}

func (k *knowledge) addSeed(seed string) {
	if !k.seeds[seed] {
		k.seeds[seed] = true
		k.changes++
	}
}

// combineHalves takes every string of 64 bytes, and every two of 32 that came out
// of ciphertexts, for a seed, if its root key is published.
func (k *knowledge) combineHalves() {
	var halves []string
	for _, f := range k.strings {
		if f.opened && len(f.bytes) == 32 {
			halves = append(halves, string(f.bytes))
		}
	}
	for _, local := range halves {
		for _, server := range halves {
			if seed := local + server; k.once("halves", seed) {
				k.roots[seed] = rootOf([]byte(seed))
			}
		}
	}
	for seed, root := range k.roots {
		if k.published[root] {
			k.addSeed(seed)
		}
	}
}

// master returns m of a seed.
func master(seed []byte) (*bip32.PrivateKey, error) {
	sum := sha512.Sum512(seed)
	return bip32.NewMaster(sum[:])
}

// rootOf returns the public key of m/0', or nothing.
func rootOf(seed []byte) string {
	m, err := master(seed)
	if err != nil {
		return ""
	}
	root, err := m.Child(bip32.Hardened)
	if err != nil {
		return ""
	}
	return string(root.Public().Bytes())
}

// derive makes every key below a seed whose path is known: the root key, the
// backup branch, and m/1'/device/counter of every slot and m/1'/0/generation of
// every generation of any account.
func (k *knowledge) derive(seed string) {
	m, err := master([]byte(seed))
	if err != nil {
		return
	}
	branch, err := m.Child(bip32.Hardened + 1)
	if err != nil {
		return
	}
	if root, err := m.Child(bip32.Hardened); err == nil && k.once("derive", seed) {
		k.addKey(m.Bytes())
		k.addKey(root.Bytes())
		k.addKey(branch.Bytes())
	}
	paths := maps.Clone(k.values.slotKeys)
	for _, account := range k.values.accounts {
		for generation := range account.generations {
			paths[slotKey{0, generation}] = true
		}
	}
	for path := range paths {
		if !k.once("path", seed, path.String()) {
			continue
		}
		if child, err := branch.Derive(uint32(path.device), uint32(path.counter)); err == nil && k.published[string(child.Public().Bytes())] {
			k.addKey(child.Bytes())
		}
	}
}

// deriveShareKeys makes the share keys that the shares may have.
func (k *knowledge) deriveShareKeys() {
	for name, share := range k.shares {
		for id, account := range k.values.accounts {
			for epoch := range account.epochs {
				for member := range account.members {
					if !k.once("share-key", name, id, strconv.FormatUint(epoch, 10), strconv.FormatUint(member, 10)) {
						continue
					}
					c := signing.NewContext("share-key").Bytes([]byte(id)).Uint(epoch).Uint(member)
					key, err := signing.DeriveKey(share.Value(), c)
					if err == nil && k.published[string(key.PublicKey().Bytes())] {
						k.addKey(key.Bytes())
					}
				}
			}
		}
	}
}
