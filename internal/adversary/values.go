package adversary

import (
	"maps"

	"zeropass.dev/zeropass/credential"
)

// values is what contexts are filled with.
type values struct {
	accounts map[string]*account
	slotKeys map[slotKey]bool
	requests map[request]bool // of recoveries
	size     int              // grows with every new value
}

// account is what is known about one account's numbers.
type account struct {
	epochs, devices, generations, members map[uint64]bool
	signKeys                              map[string]bool
	asked, nonces                         map[string]bool // hashes and nonces of requests to the server
	contacts                              map[string]bool // their accounts and keys, as their names are bound to them
}

// slotKey is a path below m/1'.
type slotKey struct{ device, counter uint64 }

func (k slotKey) String() string { return credential.SlotKeyName(k.device, k.counter) }

// request is a request for a recovery.
type request struct{ account, id, sealKey string }

func newValues() values {
	return values{
		accounts: map[string]*account{},
		slotKeys: map[slotKey]bool{},
		requests: map[request]bool{},
	}
}

// account returns the account with this id, which it makes known.
func (v *values) account(id string) *account {
	if len(id) != 32 {
		return newAccount()
	}
	if v.accounts[id] == nil {
		v.accounts[id] = newAccount()
		v.size++
	}
	return v.accounts[id]
}

func newAccount() *account {
	return &account{
		epochs: map[uint64]bool{}, devices: map[uint64]bool{}, generations: map[uint64]bool{}, members: map[uint64]bool{},
		signKeys: map[string]bool{}, asked: map[string]bool{}, nonces: map[string]bool{},
		contacts: map[string]bool{"": true}, // paper
	}
}

// maxNumber is the greatest number that is taken for one of an account's: a
// value that stands for something else would make contexts without end.
const maxNumber = 64

func (v *values) number(set map[uint64]bool, n uint64) {
	if n >= 1 && n <= maxNumber && !set[n] {
		set[n] = true
		v.size++
	}
}

func add[K comparable](v *values, set map[K]bool, value K) {
	if !set[value] {
		set[value] = true
		v.size++
	}
}

func (v *values) join(o values) {
	for id, theirs := range o.accounts {
		ours := v.account(id)
		maps.Copy(ours.epochs, theirs.epochs)
		maps.Copy(ours.devices, theirs.devices)
		maps.Copy(ours.generations, theirs.generations)
		maps.Copy(ours.members, theirs.members)
		maps.Copy(ours.signKeys, theirs.signKeys)
		maps.Copy(ours.asked, theirs.asked)
		maps.Copy(ours.nonces, theirs.nonces)
		maps.Copy(ours.contacts, theirs.contacts)
	}
	maps.Copy(v.slotKeys, o.slotKeys)
	maps.Copy(v.requests, o.requests)
	v.size++
}

// count returns how many values there are.
func (v *values) count() int {
	n := len(v.accounts) + len(v.slotKeys) + len(v.requests)
	for _, a := range v.accounts {
		n += len(a.epochs) + len(a.devices) + len(a.generations) + len(a.members) + len(a.signKeys) + len(a.asked) + len(a.nonces) + len(a.contacts)
	}
	return n
}
