package slip39

import (
	"crypto/subtle"
	"fmt"
	"iter"
	"slices"
)

// Recover's search treats both levels of the scheme alike: given points, of which
// some may be wrong, find the polynomials of the right degree that carry a digest
// of their own value at 255. At the lower level the points are member shares, at
// the upper level the group shares found below.

// A point is a share value at its coordinate. Several points may claim one
// coordinate.
type point struct {
	x byte
	y []byte
}

// A polynomial is one that fits: its digest is right.
type polynomial struct {
	basis  []int  // the points, by index, that it was computed from
	agree  uint64 // the points that lie on it, as a bit set
	secret []byte // its value at 255
}

// A search counts its work, and keeps the secrets that it came across to erase
// them in the end.
type search struct {
	subsets int
	secrets [][]byte
}

func (s *search) erase() { eraseAll(s.secrets) }

// polynomials returns those that threshold points determine. If known is not nil,
// it is the value at 255, and takes the place of one of the threshold of points.
func (s *search) polynomials(threshold int, points []point, known []byte) ([]polynomial, error) {
	if len(points) > maxPoints {
		return nil, fmt.Errorf("%w: more than %d in one group", ErrSearchTooLarge, maxPoints)
	}
	size := threshold
	if known != nil {
		size--
	}
	var found []polynomial
	for basis := range choose(len(points), size) {
		if s.subsets++; s.subsets > maxSubsets {
			return nil, fmt.Errorf("%w: more than %d subsets", ErrSearchTooLarge, maxSubsets)
		}
		if liesOnOneOf(found, basis) || repeatsCoordinate(points, basis) {
			continue
		}
		p, ok, err := s.through(points, basis, known)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, p)
		}
	}
	return found, nil
}

// through returns the polynomial through the points of the basis, and through
// (255, known) if known is not nil. ok says whether its digest fits; there is none
// on a constant one.
func (s *search) through(points []point, basis []int, known []byte) (p polynomial, ok bool, err error) {
	var xs []byte
	var ys [][]byte
	for _, i := range basis {
		xs, ys = append(xs, points[i].x), append(ys, points[i].y)
	}
	if known != nil {
		xs, ys = append(xs, secretX), append(ys, known)
	}
	secret, err := valueAt(secretX, xs, ys)
	if err != nil {
		return p, false, err
	}
	s.secrets = append(s.secrets, secret)
	if len(xs) > 1 {
		if ok, err = digestFits(secret, xs, ys); !ok || err != nil {
			clear(secret)
			s.secrets = s.secrets[:len(s.secrets)-1]
			return p, false, err
		}
	}

	p = polynomial{basis: slices.Clone(basis), secret: secret}
	for i, point := range points {
		y, err := valueAt(point.x, xs, ys)
		if err != nil {
			return p, false, err
		}
		p.agree |= uint64(subtle.ConstantTimeCompare(y, point.y)) << i
		clear(y)
	}
	return p, true, nil
}

// liesOnOneOf reports whether the basis would give a polynomial found before.
func liesOnOneOf(found []polynomial, basis []int) bool {
	var set uint64
	for _, i := range basis {
		set |= 1 << i
	}
	return slices.ContainsFunc(found, func(p polynomial) bool { return set&^p.agree == 0 })
}

func repeatsCoordinate(points []point, basis []int) bool {
	var seen [maxShares]bool
	for _, i := range basis {
		if seen[points[i].x] {
			return true
		}
		seen[points[i].x] = true
	}
	return false
}

// choose yields the subsets of k of the numbers 0 to n-1, in lexicographic order.
// Each is valid until the next.
func choose(n, k int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		if k > n {
			return
		}
		subset := make([]int, k)
		for i := range subset {
			subset[i] = i
		}
		for {
			if !yield(subset) {
				return
			}
			i := k - 1
			for i >= 0 && subset[i] == n-k+i {
				i--
			}
			if i < 0 {
				return
			}
			subset[i]++
			for j := i + 1; j < k; j++ {
				subset[j] = subset[j-1] + 1
			}
		}
	}
}

// A shareSet holds the shares that agree in all parameters of a set, and what the
// search makes of them.
type shareSet struct {
	params      setParams
	variants    []*variant
	groupPoints []point      // the candidates for group shares
	origins     []origin     // where each of them is from
	fits        []polynomial // the candidates for the encrypted secret
}

// A variant holds the shares that name one group and one member threshold. A group
// has one, unless some of its shares lie.
type variant struct {
	group, threshold int
	inputs           []int // indices into the shares given to Recover
	points           []point
	fits             []polynomial // the candidates for the group share
}

type origin struct {
	variant *variant
	fit     polynomial
}

// sortIntoSets sorts the shares, in the order given, and marks duplicates.
func sortIntoSets(shares []*Share, report Report) []*shareSet {
	var sets []*shareSet
	for i, s := range shares {
		if slices.ContainsFunc(shares[:i], s.Equal) {
			report.Shares[i].Status = Duplicate
			continue
		}
		at := slices.IndexFunc(sets, func(set *shareSet) bool { return set.params == s.set })
		if at < 0 {
			at = len(sets)
			sets = append(sets, &shareSet{params: s.set})
		}
		sets[at].add(i, s)
	}
	return sets
}

func (set *shareSet) add(input int, s *Share) {
	at := slices.IndexFunc(set.variants, func(v *variant) bool {
		return v.group == s.groupIndex && v.threshold == s.memberThreshold
	})
	if at < 0 {
		at = len(set.variants)
		set.variants = append(set.variants, &variant{group: s.groupIndex, threshold: s.memberThreshold})
	}
	v := set.variants[at]
	v.inputs = append(v.inputs, input)
	v.points = append(v.points, point{byte(s.memberIndex), s.bytes()})
}

// solve finds the candidates for the group shares, then for the encrypted secret.
func (s *search) solve(set *shareSet) (err error) {
	for _, v := range set.variants {
		if v.fits, err = s.polynomials(v.threshold, v.points, nil); err != nil {
			return err
		}
		for _, fit := range v.fits {
			set.groupPoints = append(set.groupPoints, point{byte(v.group), fit.secret})
			set.origins = append(set.origins, origin{v, fit})
		}
	}
	set.fits, err = s.polynomials(set.params.groupThreshold, set.groupPoints, nil)
	return err
}

// groupShareAt returns the share that a solution gives to one group.
func (set *shareSet) groupShareAt(group byte, fit polynomial) ([]byte, error) {
	var xs []byte
	var ys [][]byte
	for _, i := range fit.basis {
		xs, ys = append(xs, set.groupPoints[i].x), append(ys, set.groupPoints[i].y)
	}
	return valueAt(group, xs, ys)
}

// variantsOf returns the variants of one group.
func (set *shareSet) variantsOf(group int) []*variant {
	var found []*variant
	for _, v := range set.variants {
		if v.group == group {
			found = append(found, v)
		}
	}
	return found
}

// groups counts the groups of which there are shares, and those among them with a
// candidate for the group share.
func (set *shareSet) groups() (present, complete int) {
	for group := range maxShares {
		variants := set.variantsOf(group)
		if len(variants) > 0 {
			present++
		}
		if slices.ContainsFunc(variants, func(v *variant) bool { return len(v.fits) > 0 }) {
			complete++
		}
	}
	return present, complete
}

// progress orders sets by how near they are to a secret: by complete groups, then
// by shares.
func (set *shareSet) progress() int {
	_, complete := set.groups()
	shares := 0
	for _, v := range set.variants {
		shares += len(v.inputs)
	}
	return complete*maxInput + shares
}

// members counts the different members.
func (v *variant) members() int {
	var xs []byte
	for _, p := range v.points {
		xs = append(xs, p.x)
	}
	slices.Sort(xs)
	return len(slices.Compact(xs))
}
