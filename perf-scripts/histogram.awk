# Reads "GROUP MICROSECONDS", sorted by both; prints each group's percentiles and a histogram by powers of two, and draws it into the
# file `svg` under `title`. A percentile is printed where at least ten values lie beyond it.

function percentile(share) {
  if (n * (1 - share) < 10) return "-"
  return sprintf("%.1f", values[int(n * share) + 1])
}

function end_of_group(   k, bar, most) {
  if (!n) return
  printf "\n%s: %d, p50 %s, p99 %s, p99.9 %s, max %.1f us\n", group, n, percentile(0.5), percentile(0.99), percentile(0.999), values[n]
  most = 0
  for (k = low; k <= high; k++) if (buckets[k] > most) most = buckets[k]
  for (k = low; k <= high; k++) {
    bar = substr("##################################################", 1, int(50 * buckets[k] / most + 0.999))
    printf "%10d us  %8d  %s\n", 2 ^ k, buckets[k], bar
  }
  groups++
  names[groups] = sprintf("%s: %d, p50 %s, p99 %s, p99.9 %s, max %.1f us", group, n, percentile(0.5), percentile(0.99), percentile(0.999), values[n])
  for (k = 0; k <= 24; k++) heights[groups, k] = buckets[k] / most
  for (k = 0; k <= 24; k++) shares[groups, k] = buckets[k]
  n = 0
  split("", buckets)
}

{
  value = $NF
  here = $0
  sub(/ [^ ]+$/, "", here)
  if (here != group) {
    end_of_group()
    group = here
    low = 24
    high = 0
  }
  values[++n] = value
  bucket = value < 1 ? 0 : int(log(value) / log(2) + 1e-9)
  if (bucket > 24) bucket = 24
  buckets[bucket]++
  if (bucket < low) low = bucket
  if (bucket > high) high = bucket
}

END {
  end_of_group()
  if (svg == "") exit
  row = 90
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"%d\" font-family=\"monospace\" font-size=\"12\">\n", groups * row + 70 > svg
  printf "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"20\" y=\"24\" font-size=\"15\">%s</text>\n", title > svg
  for (g = 1; g <= groups; g++) {
    base = 50 + g * row - 20
    printf "<text x=\"20\" y=\"%d\">%s</text>\n", base - 58, names[g] > svg
    printf "<line x1=\"20\" y1=\"%d\" x2=\"845\" y2=\"%d\" stroke=\"#888\"/>\n", base, base > svg
    for (k = 0; k <= 24; k++) {
      if (shares[g, k] == "" || shares[g, k] == 0) continue
      tall = 50 * heights[g, k]
      if (tall < 1.5) tall = 1.5
      printf "<rect x=\"%d\" y=\"%.1f\" width=\"31\" height=\"%.1f\" fill=\"#4a78b5\"><title>%d at %d to %d us</title></rect>\n", 20 + k * 33, base - tall, tall, shares[g, k], k ? 2 ^ k : 0, 2 ^ (k + 1) > svg
    }
  }
  for (k = 0; k <= 24; k += 2) {
    label = k < 10 ? 2 ^ k " us" : (k < 20 ? 2 ^ (k - 10) " ms" : 2 ^ (k - 20) " s")
    printf "<text x=\"%d\" y=\"%d\" fill=\"#555\">%s</text>\n", 20 + k * 33, groups * row + 55, label > svg
  }
  print "</svg>" > svg
}
