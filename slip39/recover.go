package slip39

import (
	"crypto/subtle"
	"fmt"
	"strings"
)

// A Status says what Recover found out about one of the shares given to it.
type Status int

const (
	// Undetermined: these shares do not tell whether it is right.
	Undetermined Status = iota
	// Used: the secret was computed from it.
	Used
	// Consistent: it belongs to the recovered secret but was not needed. If
	// nothing was recovered: it fits the other shares of its group.
	Consistent
	// Wrong: its value contradicts the recovered secret, or, if nothing was
	// recovered, those shares of its group that fit together.
	Wrong
	// OtherSet: its identifier or parameters differ from those of the set that was
	// recovered, or its member threshold from that of its group.
	OtherSet
	// Duplicate: it equals a share given before it.
	Duplicate
)

func (s Status) String() string {
	names := [...]string{"undetermined", "used", "consistent", "wrong", "of another set", "duplicate"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("Status(%d)", int(s))
	}
	return names[s]
}

// A Finding is about one share given to Recover. It holds no secret.
type Finding struct {
	Index         int // into the shares given
	Group, Member int // as the share itself says, counted from 0
	Status        Status
}

// A Report has one Finding for each share given to Recover, in the same order.
type Report struct{ Shares []Finding }

// With returns the findings of one status.
func (r Report) With(status Status) []Finding {
	var found []Finding
	for _, f := range r.Shares {
		if f.Status == status {
			found = append(found, f)
		}
	}
	return found
}

func (r Report) mark(variant *variant, agree uint64, status Status) {
	for i, input := range variant.inputs {
		if agree>>i&1 == 1 {
			r.Shares[input].Status = status
		}
	}
}

// all is the set of all points of a variant.
const all = ^uint64(0)

// The bounds of the search. A complete set of 16 groups of 16 members needs 256
// shares and less than 2^18 subsets, C(16,8) for each group and once for the
// groups; the remainder is room for contradictions.
const (
	maxInput      = 256     // shares given
	maxPoints     = 64      // different shares of one group, or candidates for group shares
	maxSubsets    = 1 << 18 // subsets looked at, for the search and for the report each
	maxCandidates = 64      // encrypted secrets decrypted
)

// Recover finds the secret in whatever shares there are: more than needed, wrong
// ones, some twice, some of other sets, in any order. It tries the combinations
// that their thresholds allow, keeps those whose digests fit, and reports on every
// share.
//
// check, if not nil, is asked whether a candidate is the right secret, for example
// whether it belongs to a known public key; it must not keep its argument, which
// is erased when refused. Give it whenever there is something to compare with: a
// digest is 32 bits against accidents, not a proof of origin, and where all
// thresholds are 1 nothing else shows that a share is wrong. Without it, shares
// that give two secrets are an error.
//
// Once the secret is recovered, every share of a group can be told right or wrong
// if the group's threshold t is at most 2, or at least t-1 right shares of it were
// given. Otherwise its status is Undetermined.
//
// The search is bounded: at most 256 shares, 64 different ones in a group, 2^18
// subsets and 64 candidate secrets, which suffices for every set of which all
// shares are right; beyond it returns ErrSearchTooLarge. The time for decrypting
// each candidate doubles with each step of the iteration exponent.
//
// It returns ErrNoShares, ErrErased, ErrPassphrase, ErrSearchTooLarge,
// ErrTooFewGroups, ErrTooFewMembers, ErrDigest, ErrRejected or ErrAmbiguous. The
// report is complete with these last five too, except that shares of other sets
// are Undetermined when no set was recovered.
func Recover(shares []*Share, passphrase []byte, check func(secret []byte) bool) ([]byte, Report, error) {
	if err := checkInput(shares, passphrase); err != nil {
		return nil, Report{}, err
	}
	report := Report{Shares: make([]Finding, len(shares))}
	for i, s := range shares {
		report.Shares[i] = Finding{Index: i, Group: s.groupIndex, Member: s.memberIndex}
	}

	var s search
	defer s.erase()
	sets := sortIntoSets(shares, report)
	for _, set := range sets {
		if err := s.solve(set); err != nil {
			return nil, report, err
		}
	}
	secret, found, err := pick(sets, passphrase, check)
	if err != nil {
		describeFailure(sets, report)
		return nil, report, err
	}
	if err := describeSuccess(sets, found, report); err != nil {
		clear(secret)
		return nil, report, err
	}
	return secret, report, nil
}

func checkInput(shares []*Share, passphrase []byte) error {
	if len(shares) == 0 {
		return ErrNoShares
	}
	if len(shares) > maxInput {
		return fmt.Errorf("%w: %d shares given, at most %d", ErrSearchTooLarge, len(shares), maxInput)
	}
	for i, s := range shares {
		if err := s.usable(); err != nil {
			return fmt.Errorf("%w: share %d of %d given", err, i+1, len(shares))
		}
	}
	return checkPassphrase(passphrase)
}

// A solution is one of the polynomials that fit a set's group shares.
type solution struct {
	set *shareSet
	fit polynomial
}

// pick decrypts the candidates and returns the one that check accepts, or the only
// one if check is nil.
func pick(sets []*shareSet, passphrase []byte, check func([]byte) bool) (secret []byte, found solution, err error) {
	tried := 0
	for _, set := range sets {
		for _, fit := range set.fits {
			if tried++; tried > maxCandidates {
				clear(secret)
				return nil, found, fmt.Errorf("%w: more than %d candidate secrets", ErrSearchTooLarge, maxCandidates)
			}
			candidate, err := decrypt(fit.secret, passphrase, set.params)
			switch {
			case err != nil:
				clear(secret)
				return nil, found, err
			case check != nil && check(candidate):
				return candidate, solution{set, fit}, nil
			case check != nil:
				clear(candidate)
			case secret == nil:
				secret, found = candidate, solution{set, fit}
			default:
				// Two sets may well be of one and the same secret.
				same := subtle.ConstantTimeCompare(secret, candidate) == 1
				clear(candidate)
				if !same {
					clear(secret)
					return nil, found, ErrAmbiguous
				}
			}
		}
	}
	switch {
	case secret != nil:
		return secret, found, nil
	case tried > 0:
		return nil, found, ErrRejected
	}
	return nil, found, whyUnsolved(sets)
}

// describeSuccess marks every share by what the solution says about it.
func describeSuccess(sets []*shareSet, found solution, report Report) error {
	for _, set := range sets {
		if set == found.set {
			continue
		}
		for _, v := range set.variants {
			report.mark(v, all, OtherSet)
		}
	}
	var s search
	defer s.erase()
	for group := range maxShares {
		groupShare, err := found.set.groupShareAt(byte(group), found.fit)
		if err != nil {
			return err
		}
		err = s.judge(found.set.variantsOf(group), groupShare, report)
		clear(groupShare)
		if err != nil {
			return err
		}
	}
	for _, i := range found.fit.basis {
		from := found.set.origins[i]
		for _, j := range from.fit.basis {
			report.Shares[from.variant.inputs[j]].Status = Used
		}
	}
	return nil
}

// judge marks the shares of one group, whose group share is known. The known value
// replaces one of the threshold of shares, and the digest then decides about the
// rest: a single share with threshold 2 can be told right from wrong.
func (s *search) judge(variants []*variant, groupShare []byte, report Report) error {
	agree := make([]uint64, len(variants))
	settled := false // one threshold has proved to be the group's
	for i, v := range variants {
		fits, err := s.polynomials(v.threshold, v.points, groupShare)
		if err != nil {
			return err
		}
		for _, fit := range fits {
			agree[i] |= fit.agree
		}
		settled = settled || agree[i] != 0
	}
	for i, v := range variants {
		switch {
		case agree[i] != 0:
			report.mark(v, agree[i], Consistent)
			report.mark(v, ^agree[i], Wrong)
		case settled:
			report.mark(v, all, OtherSet)
		case v.threshold <= 2: // each was tested alone
			report.mark(v, all, Wrong)
		}
	}
	return nil
}

// describeFailure marks what the digests within the groups tell by themselves.
func describeFailure(sets []*shareSet, report Report) {
	for _, set := range sets {
		for group := range maxShares {
			var proved []*variant
			for _, v := range set.variantsOf(group) {
				if v.threshold > 1 && len(v.fits) > 0 {
					proved = append(proved, v)
				}
			}
			if len(proved) == 1 && len(proved[0].fits) == 1 {
				agree := proved[0].fits[0].agree
				report.mark(proved[0], agree, Consistent)
				report.mark(proved[0], ^agree, Wrong)
			}
		}
	}
}

// whyUnsolved describes what the set that came farthest lacks.
func whyUnsolved(sets []*shareSet) error {
	best := sets[0]
	for _, set := range sets[1:] {
		if set.progress() > best.progress() {
			best = set
		}
	}
	var lacking strings.Builder
	for _, v := range best.variants {
		if len(v.fits) > 0 {
			continue
		}
		if v.members() >= v.threshold {
			return fmt.Errorf("%w: no %d of the shares given of group %d", ErrDigest, v.threshold, v.group)
		}
		fmt.Fprintf(&lacking, "; group %d: %d of %d shares", v.group, v.members(), v.threshold)
	}
	present, complete := best.groups()
	switch need := best.params.groupThreshold; {
	case complete >= need:
		return fmt.Errorf("%w: no %d of the %d groups given", ErrDigest, need, complete)
	case present < need:
		return fmt.Errorf("%w: %d of %d%s", ErrTooFewGroups, present, need, lacking.String())
	default:
		return fmt.Errorf("%w: %d of %d groups complete%s", ErrTooFewMembers, complete, need, lacking.String())
	}
}
