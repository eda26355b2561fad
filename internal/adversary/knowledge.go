package adversary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"maps"

	"zeropass.dev/zeropass/slip39"
)

// knowledge is what some parties have, taken apart.
type knowledge struct {
	strings   map[[32]byte]*found // every byte string, by its SHA-256
	texts     map[[32]byte][]byte // what is searched for targets: all else is part of one of these
	keys      map[string]*tried   // by the key's bytes
	sealed    map[string]*sealed  // by the ciphertext's bytes
	published map[string]bool     // public keys, compressed
	shares    map[string]*slip39.Share
	seeds     map[string]bool
	roots     map[string]string          // strings of 64 bytes, to the root key that they have as a seed
	siblings  map[string][][32]byte      // strings of 32 bytes in one message: may be hashes of shares
	parts     map[string]map[string]bool // what was opened, by the object that it was bound to
	places    map[string]scope           // where they were
	done      map[string]bool            // combinations that were made

	values     values
	plaintexts map[[32]byte]bool // what was opened or combined, by its SHA-256
	changes    int               // grows with everything new
	round      int               // of trying and combining
}

// found is one byte string.
type found struct {
	bytes  []byte
	opened bool // it came out of a ciphertext or a combination
}

// tried is a key with what it was tried on.
type tried struct {
	*key
	active bool   // its public key is published
	round  int    // in which it came, or became active
	mask   uint64 // of the parties that have it, and have tried it
}

func newKnowledge() *knowledge {
	return &knowledge{
		strings:   map[[32]byte]*found{},
		texts:     map[[32]byte][]byte{},
		keys:      map[string]*tried{},
		sealed:    map[string]*sealed{},
		published: map[string]bool{},
		shares:    map[string]*slip39.Share{},
		seeds:     map[string]bool{},
		roots:     map[string]string{},
		siblings:  map[string][][32]byte{},
		parts:     map[string]map[string]bool{},
		places:    map[string]scope{},
		done:      map[string]bool{},
		values:    newValues(),

		plaintexts: map[[32]byte]bool{},
	}
}

// join puts together what several parties know, each of whom has opened what it
// can alone.
func join(parties []*knowledge) *knowledge {
	k := newKnowledge()
	for _, p := range parties {
		for hash, f := range p.strings {
			if have, ok := k.strings[hash]; !ok || f.opened && !have.opened {
				k.strings[hash] = f
			}
		}
		maps.Copy(k.texts, p.texts)
		maps.Copy(k.published, p.published)
		maps.Copy(k.shares, p.shares)
		maps.Copy(k.seeds, p.seeds)
		maps.Copy(k.roots, p.roots)
		maps.Copy(k.siblings, p.siblings)
		maps.Copy(k.places, p.places)
		maps.Copy(k.done, p.done)
		for object, list := range p.parts {
			for part := range list {
				k.addPart(object, part)
			}
		}
		for name, t := range p.keys {
			if k.keys[name] == nil {
				k.keys[name] = &tried{key: t.key}
			}
		}
		for name, s := range p.sealed {
			if k.sealed[name] == nil {
				k.sealed[name] = s.copy()
			}
			maps.Copy(k.sealed[name].scopes, s.scopes)
		}
		k.values.join(p.values)
		maps.Copy(k.plaintexts, p.plaintexts)
	}
	k.reuse(parties)
	k.expand()
	k.activate()
	// What one party could try alone, it has tried.
	for i, p := range parties {
		for name, t := range p.keys {
			if t.active == k.keys[name].active {
				k.keys[name].mask |= 1 << i
			}
		}
		for name, s := range p.sealed {
			all := k.sealed[name]
			if len(s.contexts) == len(all.contexts) && len(s.scopes) == len(all.scopes) {
				all.mask |= 1 << i
			}
		}
	}
	return k
}

// reuse takes contexts over from a party that knew all values alone: they are the
// same then.
func (k *knowledge) reuse(parties []*knowledge) {
	for _, p := range parties {
		if p.values.count() != k.values.count() {
			continue
		}
		for name, s := range k.sealed {
			if theirs := p.sealed[name]; theirs != nil && len(theirs.scopes) == len(s.scopes) {
				s.contexts, s.sizes = theirs.contexts, [2]int{len(s.scopes), k.values.size}
			}
		}
	}
}

// close opens and combines until nothing new appears.
func (k *knowledge) close(ctx context.Context) error {
	for {
		before := k.changes
		k.expand()
		k.activate()
		opened, err := k.try(ctx)
		if err != nil {
			return err
		}
		k.round++
		for _, o := range opened {
			k.openedPart(o)
		}
		k.combine()
		if k.changes == before && len(opened) == 0 {
			return nil
		}
	}
}

// activate finds the private keys whose public keys are known.
func (k *knowledge) activate() {
	for _, t := range k.keys {
		if !t.active && t.public != nil && k.published[string(t.public)] {
			t.active, t.round, t.mask = true, k.round, 0
			k.changes++
		}
	}
}

// text keeps bytes to be searched for targets.
func (k *knowledge) text(b []byte) {
	hash := sha256.Sum256(b)
	if _, ok := k.texts[hash]; !ok {
		k.texts[hash] = bytes.Clone(b)
	}
}

// addKey takes a string as a key.
func (k *knowledge) addKey(b []byte) {
	if k.keys[string(b)] != nil {
		return
	}
	k.keys[string(b)] = &tried{key: newKey(b), round: k.round}
	k.changes++
}

// addShare takes a SLIP-39 share.
func (k *knowledge) addShare(share *slip39.Share) {
	b, err := share.MarshalBinary()
	if err != nil || k.shares[string(b)] != nil {
		return
	}
	k.shares[string(b)] = share
	k.changes++
}

// addPart takes what was opened at the place of an object.
func (k *knowledge) addPart(object, part string) {
	if k.parts[object] == nil {
		k.parts[object] = map[string]bool{}
	}
	if !k.parts[object][part] {
		k.parts[object][part] = true
		k.changes++
	}
}

// forget lets go of what somebody else knows too, who erases it.
func (k *knowledge) forget(o *knowledge) {
	if o == nil {
		return
	}
	for hash := range o.strings {
		delete(k.strings, hash)
	}
	for hash := range o.texts {
		delete(k.texts, hash)
	}
	for name := range o.keys {
		delete(k.keys, name)
	}
	for name := range o.shares {
		delete(k.shares, name)
	}
}

func (k *knowledge) erase() {
	for _, f := range k.strings {
		clear(f.bytes)
	}
	for _, b := range k.texts {
		clear(b)
	}
	for _, t := range k.keys {
		t.erase()
	}
	for _, share := range k.shares {
		share.Erase()
	}
}
