from visus.core.scores import Score


def test_a_score_shows_its_interval_and_its_n():
    assert str(Score(0.91234, 0.9, 0.925, 10000)) == "0.9123 [0.9000, 0.9250] (n = 10,000)"


def test_a_score_in_json_has_the_four_names_of_the_command_line():
    assert Score(0.5, 0.25, 0.75, 4).json() == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}
