counters after
"$ENSEMBLE_DUMMY" --canary | note 'after canary'
for file in "$ENSEMBLE_MPI_RECORD"/rank-*.json; do
  [ ! -e "$file" ] || note rank < "$file"
done
