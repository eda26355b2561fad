package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/slip39"
)

// Finding is what is known about one of the shares given to [Rebuild].
type Finding struct {
	Place  Place         // zero for a share of another account
	Status slip39.Status // Used, Consistent, Undetermined, Wrong, OtherSet or Duplicate
	Err    error         // why it is of no use; nil for a right one, and for one that was given twice
}

// String says it in words, like "the share of contact 2 in epoch 1 is right".
func (f Finding) String() string {
	switch {
	case f.Err != nil:
		return f.Err.Error()
	case f.Status == slip39.Duplicate:
		return f.Place.String() + " was given twice"
	case f.Status == slip39.Undetermined:
		return f.Place.String() + " cannot be judged yet"
	}
	return f.Place.String() + " is right"
}

// Report says what [Rebuild] found out about the shares, in their order.
type Report struct {
	Epoch   uint64
	Shares  []Finding
	Missing string // what would suffice, in words; empty if nothing is missing
}

// Wrong returns the findings of shares that are of no use.
func (r Report) Wrong() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Shares), func(f Finding) bool { return f.Err == nil })
}

// String has a line for each share and one for what is missing.
func (r Report) String() string {
	var b strings.Builder
	for i, f := range r.Shares {
		fmt.Fprintf(&b, "share %d: %v\n", i+1, f)
	}
	if r.Missing != "" {
		fmt.Fprintf(&b, "missing: %s\n", r.Missing)
	}
	return b.String()
}

// Rebuild finds the keys of an epoch in whatever shares there are, right and wrong
// ones, in any order: those of two of the server, the devices and a quorum of
// contacts, or the sheet, are needed. The right keys are those of the epoch's root
// key in the ledger.
//
// The report comes with errors too, which wrap [ErrNoEpoch], [ErrNotEnough] or
// slip39's. The caller erases the keys.
func Rebuild(shares []*slip39.Share, state *ledger.State, epoch uint64) (*seed.Keys, Report, error) {
	r, err := sortShares(shares, state, epoch)
	if err != nil {
		return nil, Report{Epoch: epoch}, err
	}
	s, err := r.recover()
	if err != nil {
		return nil, r.report, err
	}
	defer s.Erase()
	keys, err := s.Keys()
	if err != nil {
		return nil, r.report, err
	}
	return keys, r.report, nil
}

// RestoreDeviceShare makes group 1's share of an epoch, which was lost with all
// devices, from the same shares that [Rebuild] takes, and compares it with its
// hash in the ledger. Its errors are those of Rebuild. The caller erases the
// share.
func RestoreDeviceShare(shares []*slip39.Share, state *ledger.State, epoch uint64) (*slip39.Share, error) {
	r, err := sortShares(shares, state, epoch)
	if err != nil {
		return nil, err
	}
	if given := r.groups[seed.GroupDevices]; len(given) == 1 {
		return copyShare(given[0])
	}
	two := r.twoGroups()
	if two == nil {
		return nil, r.notEnough()
	}
	share, err := slip39.RestoreGroup(two, seed.GroupDevices)
	if err != nil {
		return nil, fmt.Errorf("the devices' share of epoch %d: %w", epoch, err)
	}
	hash, err := seed.ShareHash(share)
	if err != nil || !bytes.Equal(hash[:], r.epoch.Record.DeviceShareHash) {
		share.Erase()
		return nil, fmt.Errorf("%w: the devices' share of epoch %d comes out otherwise than the ledger has it", ErrWrongShare, epoch)
	}
	return share, nil
}

func copyShare(share *slip39.Share) (*slip39.Share, error) {
	b, err := share.MarshalBinary()
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return slip39.ParseBinary(b)
}

// rebuilding is shares sorted by what the ledger says about them.
type rebuilding struct {
	epoch  *ledger.Epoch
	report Report
	groups [seed.GroupSheet + 1][]*slip39.Share // usable ones, each once
	origin [seed.GroupSheet + 1][]int           // their places among those given
}

// sortShares keeps the shares that the ledger proves, and the sheet's, which only
// the seed proves. Wrong ones never reach the search for the seed.
func sortShares(shares []*slip39.Share, state *ledger.State, number uint64) (*rebuilding, error) {
	epoch, ok := state.Epoch(number)
	if !ok {
		return nil, fmt.Errorf("%w: epoch %d", ErrNoEpoch, number)
	}
	r := &rebuilding{epoch: epoch, report: Report{Epoch: number}}
	for i, share := range shares {
		f := r.judge(share, state)
		if f.Err == nil && f.Status != slip39.Duplicate {
			g := share.GroupIndex()
			r.groups[g], r.origin[g] = append(r.groups[g], share), append(r.origin[g], i)
		}
		r.report.Shares = append(r.report.Shares, f)
	}
	return r, nil
}

// judge asks the wanted epoch first, then the others.
func (r *rebuilding) judge(share *slip39.Share, state *ledger.State) Finding {
	if share == nil || !alive(share) {
		return Finding{Status: slip39.Wrong, Err: slip39.ErrErased}
	}
	if place, ok := placeIn(share, r.epoch); ok {
		if proved, err := prove(share, state.Account(), r.epoch, place); proved || err == nil {
			return r.once(share, place, proved)
		}
	}
	place, err := Identify(share, state)
	switch {
	case errors.Is(err, ErrOtherAccount):
		return Finding{Status: slip39.OtherSet, Err: err}
	case place.Epoch != r.epoch.Number:
		return Finding{Place: place, Status: slip39.OtherSet, Err: place.In(r.epoch.Number)}
	}
	return Finding{Place: place, Status: slip39.Wrong, Err: err}
}

func (r *rebuilding) once(share *slip39.Share, place Place, proved bool) Finding {
	for _, other := range r.groups[share.GroupIndex()] {
		if other.Equal(share) {
			return Finding{Place: place, Status: slip39.Duplicate}
		}
	}
	if proved {
		return Finding{Place: place, Status: slip39.Consistent}
	}
	return Finding{Place: place, Status: slip39.Undetermined}
}

// recover finds the seed, and what it says about the sheet's share.
func (r *rebuilding) recover() (*seed.Seed, error) {
	if r.complete() < 2 {
		return nil, r.notEnough()
	}
	usable, origin := slices.Concat(r.groups[:]...), slices.Concat(r.origin[:]...)
	s, found, err := seed.Recover(usable, r.epoch.RootKey)
	if err != nil && len(r.groups[seed.GroupSheet]) == 0 {
		return nil, fmt.Errorf("epoch %d: %w", r.report.Epoch, err)
	}
	for i, given := range origin {
		f := &r.report.Shares[given]
		switch {
		case f.Place.Holder == recordv1.Holder_KIND_SHEET && (err != nil || found.Shares[i].Status == slip39.Wrong):
			// The others were proved: the sheet's share it is that does not fit.
			f.Status = slip39.Wrong
			f.Err = fmt.Errorf("%w: it is named as %s, but does not fit the others", ErrWrongShare, f.Place)
		case err == nil && found.Shares[i].Status != slip39.Undetermined:
			f.Status = found.Shares[i].Status
		}
	}
	if err != nil {
		r.groups[seed.GroupSheet], r.origin[seed.GroupSheet] = nil, nil
		return nil, r.notEnough()
	}
	return s, nil
}

// has says whether a group's shares are all there.
func (r *rebuilding) has(group int) bool {
	if group == seed.GroupContacts {
		return len(r.groups[group]) >= r.epoch.Quorum()
	}
	return len(r.groups[group]) > 0
}

func (r *rebuilding) complete() int {
	n := 0
	for group := range r.groups {
		if r.has(group) {
			n++
		}
	}
	return n
}

// twoGroups returns just enough shares of two groups other than the devices', the
// sheet only where it must be; nil if there are no two.
func (r *rebuilding) twoGroups() []*slip39.Share {
	var two []*slip39.Share
	groups := 0
	for _, group := range []int{seed.GroupServer, seed.GroupContacts, seed.GroupSheet} {
		if !r.has(group) || groups == 2 {
			continue
		}
		need := 1
		if group == seed.GroupContacts {
			need = r.epoch.Quorum()
		}
		two = append(two, r.groups[group][:need]...)
		groups++
	}
	if groups < 2 {
		return nil
	}
	return two
}

// notEnough notes what is missing and returns it as an error.
func (r *rebuilding) notEnough() error {
	var options []string
	if more := r.epoch.Quorum() - len(r.groups[seed.GroupContacts]); more == 1 {
		options = append(options, "the share of 1 more contact")
	} else if more > 1 {
		options = append(options, fmt.Sprintf("the shares of %d more contacts", more))
	}
	if !r.has(seed.GroupSheet) && r.epoch.SheetKey != nil {
		options = append(options, "the printed sheet")
	}
	if !r.has(seed.GroupDevices) {
		options = append(options, "a device's directory and passphrase")
	}
	if !r.has(seed.GroupServer) {
		options = append(options, "the server's share")
	}
	need := "one"
	if r.complete() == 0 {
		need = "two"
	}
	r.report.Missing = fmt.Sprintf("%s of: %s", need, strings.Join(options, "; "))
	return fmt.Errorf("%w for epoch %d: still needed is %s", ErrNotEnough, r.report.Epoch, r.report.Missing)
}
