package entropy

import "math"

// MostCommonValue estimates the min-entropy of samples from how often the most
// frequent one came: NIST SP 800-90B section 6.3.1, with its upper bound of 99 %
// confidence. It returns bits for each byte, and needs at least a million samples
// to say something; it finds bias, and none of the other ways in which samples
// can be foreseen.
func MostCommonValue(samples []byte) float64 {
	var counts [256]int
	most := 0
	for _, sample := range samples {
		counts[sample]++
		most = max(most, counts[sample])
	}
	p := float64(most) / float64(len(samples))
	upper := min(1, p+2.576*math.Sqrt(p*(1-p)/float64(len(samples)-1)))
	return -math.Log2(upper)
}

// sampleStep is how many samples are drawn at once, so that a slow source is not
// taken for one that does not answer.
const sampleStep = 4096

// Sample draws raw samples of a source, by its place in [Service.Status], for an
// operator to look at. They pass the health tests like any others and go into no
// half. An error ends the use of the source.
func (s *Service) Sample(index, count int) ([]byte, error) {
	samples := make([]byte, 0, count)
	for len(samples) < count {
		some, err := s.sources[index].draw(min(sampleStep, count-len(samples)))
		if err != nil {
			return nil, err
		}
		samples = append(samples, some...)
	}
	return samples, nil
}
