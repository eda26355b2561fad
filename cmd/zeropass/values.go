package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// quorum is the value of --contacts: K-of-N.
type quorum struct{ k, n int }

func (q *quorum) String() string { return fmt.Sprintf("%d-of-%d", q.k, q.n) }

// Type names the value in the help.
func (*quorum) Type() string { return "K-of-N" }

// Set reads 2-of-3. One contact alone can only be 1-of-1: with more of them, a
// quorum of one would let any single one recover with the server.
func (q *quorum) Set(s string) error {
	first, second, ok := strings.Cut(s, "-of-")
	k, errK := strconv.Atoi(first)
	n, errN := strconv.Atoi(second)
	switch {
	case !ok || errK != nil || errN != nil:
		return fmt.Errorf("%q is not of the form 2-of-3", s)
	case n < 1 || n > 16:
		return fmt.Errorf("there can be 1 to 16 contacts")
	case k > n:
		return fmt.Errorf("%d of %d contacts can never come together", k, n)
	case k < 1 || k < 2 && n != 1:
		return fmt.Errorf("at least 2 contacts must be needed, unless there is only one")
	}
	*q = quorum{k, n}
	return nil
}

// period is the value of --waiting-period: 72h, 3d, 1d12h.
type period time.Duration

func (p *period) String() string {
	d := time.Duration(*p)
	if d > 0 && d%(24*time.Hour) == 0 {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Type names the value in the help.
func (*period) Type() string { return "duration" }

// Set reads Go's durations, and days in front of them.
func (p *period) Set(s string) error {
	var days time.Duration
	rest := s
	if first, second, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a duration like 72h or 3d", s)
		}
		days, rest = time.Duration(n)*24*time.Hour, second
	}
	var d time.Duration
	if rest != "" || s == "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil {
			return fmt.Errorf("%q is not a duration like 72h or 3d", s)
		}
	}
	switch d += days; {
	case d < time.Second:
		return fmt.Errorf("the waiting period is at least one second")
	case d > 365*24*time.Hour:
		return fmt.Errorf("the waiting period is at most 365 days")
	case d%time.Second != 0:
		return fmt.Errorf("the waiting period is in whole seconds")
	}
	*p = period(d)
	return nil
}
